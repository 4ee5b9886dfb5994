/**
 * Terminals among a program's standard streams. Node restores their settings
 * when it exits. If the terminal was closed meanwhile, Node cannot do this and
 * aborts (SIGSEGV or SIGABRT, with a core). It ignores a stream whose file was
 * replaced by another file.
 */
import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import { isatty } from "node:tty";

/** The streams that were terminals when the program started. */
const terminals = [0, 1, 2].filter((fd) => isatty(fd));

/** For a program that reads no input: it gives up the terminal in which it was started. */
export function leaveInput(): void {
  if (terminals.includes(0)) replace(0);
}

/** Lets the program exit normally if its terminal is closed by then. */
export function surviveHangup(): void {
  process.once("exit", () => {
    for (const fd of terminals) if (!isatty(fd)) replace(fd);
  });
}

/** The system assigns the lowest free number, which is that of the file that was just closed. */
function replace(fd: number): void {
  if (process.platform === "win32") return; // Node does not restore settings there
  try {
    closeSync(fd);
    const opened = openSync(devNull, "r+");
    if (opened !== fd) closeSync(opened); // a closed stream is also ignored
  } catch {
    // The stream is closed already.
  }
}
