/**
 * Checks whether the system can run a file as a program.
 *
 * If the system reports "exec format error", Node lets the C library pass the
 * file to `/bin/sh`, which then runs the content of the file line by line. So
 * the file is checked before the start: `#!`, the header of an executable, and
 * on Linux the formats that are registered with the system (binfmt_misc).
 */
import { open, readdir, readFile, stat } from "node:fs/promises";
import { constants } from "node:os";
import { extname, isAbsolute, join } from "node:path";

/** As Linux reads: later bytes are not part of the line that names the interpreter. */
const HEAD_BYTES = 256;

/** Why the file cannot be run, with the system's `code` and `errno`. `undefined` if it can be run, or if the system's own error says more. POSIX only. */
export async function whyNotRunnable(
  path: string,
): Promise<NodeJS.ErrnoException | undefined> {
  const head = await headOf(path);
  if (head === undefined) return undefined;
  if (head.subarray(0, 2).toString("latin1") === "#!") {
    const line = head.subarray(2).toString("utf8").split("\n", 1)[0] ?? "";
    const interpreter = line.trim().split(/[ \t]/, 1)[0] ?? "";
    if (interpreter === "") return formatError();
    const isMissing = isAbsolute(interpreter) && !(await exists(interpreter));
    return isMissing
      ? systemError("ENOENT", `its interpreter ${interpreter} does not exist`)
      : undefined;
  }
  if (await isNative(head)) return undefined;
  return (await isRegistered(path, head)) ? undefined : formatError();
}

function formatError(): NodeJS.ErrnoException {
  return systemError(
    "ENOEXEC",
    "exec format error: it is neither a program for this system nor a script that begins with #!",
  );
}

function systemError(
  code: "ENOENT" | "ENOEXEC",
  message: string,
): NodeJS.ErrnoException {
  const errno = -constants.errno[code];
  return Object.assign(new Error(message), { code, errno });
}

async function headOf(path: string): Promise<Buffer | undefined> {
  try {
    await using file = await open(path);
    const buffer = Buffer.alloc(HEAD_BYTES);
    const { bytesRead } = await file.read(buffer, 0, HEAD_BYTES, 0);
    return buffer.subarray(0, bytesRead);
  } catch {
    return undefined; // a user may be allowed to run a program but not to read it
  }
}

/** Whether the file is an executable in this system's format, for a processor that this machine can run. */
async function isNative(head: Buffer): Promise<boolean> {
  if (process.platform === "darwin") {
    return MACH_O.has(head.subarray(0, 4).toString("hex"));
  }
  const own = await headOf(process.execPath);
  if (own === undefined || !isElf(own)) return true; // this system's format is unknown
  return isElf(head) && compatibleMachines(own).includes(machineOf(head) ?? -1);
}

function isElf(head: Buffer): boolean {
  return head.length >= 52 && head.readUInt32BE(0) === 0x7f454c46;
}

/** The field `e_machine`. */
function machineOf(head: Buffer): number | undefined {
  return head[5] === 2 ? head.readUInt16BE(18) : head.readUInt16LE(18);
}

/** The machine types that a processor of this type can run: its own and its 32-bit predecessor. */
function compatibleMachines(own: Buffer): readonly (number | undefined)[] {
  const machine = machineOf(own);
  if (machine === 62) return [62, 3]; // x86-64, 386
  return machine === 183 ? [183, 40] : [machine]; // AArch64, ARM
}

/** The magic numbers of Mach-O: both byte orders, 32 and 64 bits, and the container for several processors. */
const MACH_O = new Set([
  "feedface",
  "feedfacf",
  "cefaedfe",
  "cffaedfe",
  "cafebabe",
  "bebafeca",
]);

const BINFMT = "/proc/sys/fs/binfmt_misc";

/** Whether an interpreter for such files is registered with the system. */
async function isRegistered(path: string, head: Buffer): Promise<boolean> {
  const names = await readdir(BINFMT).catch(() => []); // not Linux, or nothing is registered
  for (const name of names) {
    if (name === "register" || name === "status") continue;
    const entry = await readFile(join(BINFMT, name), "utf8").catch(() => "");
    if (entry.startsWith("enabled") && matchesFormat(entry, path, head))
      return true;
  }
  return false;
}

function matchesFormat(entry: string, path: string, head: Buffer): boolean {
  const extension = /^extension \.(.+)$/m.exec(entry)?.[1];
  if (extension !== undefined) return extname(path) === `.${extension}`;
  const offset = Number(/^offset (\d+)$/m.exec(entry)?.[1] ?? 0);
  const magic = Buffer.from(
    /^magic ([0-9a-f]+)$/m.exec(entry)?.[1] ?? "",
    "hex",
  );
  const mask = Buffer.from(/^mask ([0-9a-f]+)$/m.exec(entry)?.[1] ?? "", "hex");
  if (magic.length === 0 || head.length < offset + magic.length) return false;
  return magic.every((byte, i) => {
    const bits = mask[i] ?? 0xff;
    return ((head[offset + i] ?? 0) & bits) === (byte & bits);
  });
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}
