/**
 * HMAC-SHA-256 of little, by two hashes in one go each: a `Hmac` object costs
 * more than to hash a small message does.
 */
import { createHash, hash } from "node:crypto";

/** Bytes. Of more, the copy costs what the object does. */
const LIMIT = 16 * 1024;
/** Bytes of a block of SHA-256, and of its result. */
const BLOCK = 64;
const DIGEST = 32;

/** One text at a time. */
const text = Buffer.allocUnsafeSlow(BLOCK + LIMIT);

/** Returns what signs pieces that follow each other, in hexadecimal digits; `undefined` where they are too much. */
export function quickHmac(
  key: Buffer,
): (pieces: readonly Uint8Array[]) => string | undefined {
  const block = Buffer.alloc(BLOCK);
  const short =
    key.length > BLOCK ? createHash("sha256").update(key).digest() : key;
  short.copy(block);
  // What is hashed before the text, and before the hash of that (RFC 2104).
  const inner = block.map((byte) => byte ^ 0x36);
  const outer = Buffer.alloc(BLOCK + DIGEST);
  outer.set(block.map((byte) => byte ^ 0x5c));
  return (pieces) => {
    let size = BLOCK;
    for (const { length } of pieces) size += length;
    if (size > text.length) return undefined;
    text.set(inner);
    let at = BLOCK;
    for (const piece of pieces) {
      text.set(piece, at);
      at += piece.length;
    }
    const first = hash("sha256", text.subarray(0, size), "binary");
    outer.write(first, BLOCK, "latin1");
    return hash("sha256", outer, "hex");
  };
}
