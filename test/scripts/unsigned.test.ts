import { expect, test } from "vitest";
import { unsigned } from "../../scripts/exe/unsigned.ts";

const HEADER = 0x80;
const DIRECTORY = HEADER + 24 + 112 + 32;

/** The least that is a 64-bit Windows executable, with so many bytes of signature at its end. */
function executable(signature: number): Buffer {
  const bytes = Buffer.alloc(512 + signature, 1);
  bytes.writeUInt32LE(HEADER, 0x3c);
  bytes.write("PE\0\0", HEADER, "latin1");
  bytes.writeUInt16LE(0x20b, HEADER + 24);
  bytes.writeUInt32LE(signature === 0 ? 0 : 512, DIRECTORY);
  bytes.writeUInt32LE(signature, DIRECTORY + 4);
  return bytes;
}

test("a signature is cut off, and not spoken of any more", () => {
  const bytes = unsigned(executable(64));
  expect(bytes.length).toBe(512);
  expect(bytes.readBigUInt64LE(DIRECTORY)).toBe(0n);
});

test("an executable without a signature stays as it is", () => {
  expect(unsigned(executable(0)).length).toBe(512);
});

test("what is no such executable, or has more behind its signature, is refused", () => {
  expect(() => unsigned(Buffer.alloc(512))).toThrow(/no 64-bit Windows/);
  const longer = Buffer.concat([executable(64), Buffer.alloc(1)]);
  expect(() => unsigned(longer)).toThrow(/at the executable's end/);
});
