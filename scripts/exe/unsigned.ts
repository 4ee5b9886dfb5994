/**
 * A Windows executable without its signature: what is put into it makes the
 * signature false, and a false one is worse than none.
 */
const PE_OFFSET = 0x3c;
/** In the optional header of a 64-bit executable: the fifth data directory says where the signature is. */
const SECURITY_DIRECTORY = 24 + 112 + 4 * 8;
const PE32_PLUS = 0x20b;

/** The bytes that are to be kept: the signature is cut off, and what names it cleared in place. */
export function unsigned(executable: Buffer): Buffer {
  const header = executable.readUInt32LE(PE_OFFSET);
  const isPe =
    executable.toString("latin1", header, header + 4) === "PE\0\0" &&
    executable.readUInt16LE(header + 24) === PE32_PLUS;
  if (!isPe) throw new Error("This is no 64-bit Windows executable");
  const directory = header + SECURITY_DIRECTORY;
  const from = executable.readUInt32LE(directory);
  const size = executable.readUInt32LE(directory + 4);
  if (size === 0) return executable;
  if (from + size !== executable.length) {
    throw new Error("The signature is not at the executable's end");
  }
  executable.fill(0, directory, directory + 8);
  return executable.subarray(0, from);
}
