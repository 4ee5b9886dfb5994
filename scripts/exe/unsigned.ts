/**
 * Removes the signature of a Windows executable: the injected blob makes the
 * signature invalid, and an invalid signature is worse than none.
 */
const PE_OFFSET = 0x3c;
/** The offset of the fifth data directory, in the optional header of a 64-bit executable. It has the position of the signature. */
const SECURITY_DIRECTORY = 24 + 112 + 4 * 8;
const PE32_PLUS = 0x20b;

/** The executable without its signature. The entry of the signature is cleared in place. */
export function unsigned(executable: Buffer): Buffer {
  const header = executable.readUInt32LE(PE_OFFSET);
  const isPe =
    executable.toString("latin1", header, header + 4) === "PE\0\0" &&
    executable.readUInt16LE(header + 24) === PE32_PLUS;
  if (!isPe) throw new Error("This file is not a 64-bit Windows executable");
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
