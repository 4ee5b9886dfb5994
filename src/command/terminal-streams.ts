/**
 * Terminals among a program's standard streams. Node restores their settings
 * when it exits, and aborts (SIGSEGV or SIGABRT, with a core) where it cannot,
 * because somebody has closed the terminal meanwhile. It leaves a stream alone
 * that has become another file.
 */
import { closeSync, openSync } from "node:fs";
import { devNull } from "node:os";
import { isatty } from "node:tty";

/** Those that were terminals when the program began. */
const terminals = [0, 1, 2].filter((fd) => isatty(fd));

/** For a program that reads nothing: it does not keep the terminal that it was started in as its input. */
export function leaveInput(): void {
  if (terminals.includes(0)) replace(0);
}

/** From now on, a terminal that is gone when the program exits does not matter. */
export function surviveHangup(): void {
  process.once("exit", () => {
    for (const fd of terminals) if (!isatty(fd)) replace(fd);
  });
}

/** The system gives the lowest number that is free: that of the file which was just closed. */
function replace(fd: number): void {
  if (process.platform === "win32") return; // Node restores nothing there
  try {
    closeSync(fd);
    const opened = openSync(devNull, "r+");
    if (opened !== fd) closeSync(opened); // closed is as good
  } catch {
    // It is closed already.
  }
}
