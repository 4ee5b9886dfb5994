import { expect, test } from "vitest";
import { unsigned } from "../../scripts/exe/unsigned.ts";

const HEADER = 0x80;
const DIRECTORY = HEADER + 24 + 112 + 32;

/** The smallest 64-bit Windows executable, with `signature` bytes of signature at its end. */
function executable(signature: number): Buffer {
  const bytes = Buffer.alloc(512 + signature, 1);
  bytes.writeUInt32LE(HEADER, 0x3c);
  bytes.write("PE\0\0", HEADER, "latin1");
  bytes.writeUInt16LE(0x20b, HEADER + 24);
  bytes.writeUInt32LE(signature === 0 ? 0 : 512, DIRECTORY);
  bytes.writeUInt32LE(signature, DIRECTORY + 4);
  return bytes;
}

test("the signature is removed, and its entry is cleared", () => {
  const bytes = unsigned(executable(64));
  expect(bytes.length).toBe(512);
  expect(bytes.readBigUInt64LE(DIRECTORY)).toBe(0n);
});

test("an executable without a signature stays as it is", () => {
  expect(unsigned(executable(0)).length).toBe(512);
});

test("another file, or an executable with data after its signature, is refused", () => {
  expect(() => unsigned(Buffer.alloc(512))).toThrow(/not a 64-bit Windows/);
  const longer = Buffer.concat([executable(64), Buffer.alloc(1)]);
  expect(() => unsigned(longer)).toThrow(/at the executable's end/);
});
