/**
 * HMAC-SHA-256 of a small text with two one-shot hashes. Creating an `Hmac` object
 * costs more than hashing a small message.
 */
import { createHash, hash } from "node:crypto";

/** Bytes. For a larger text the copy costs as much as the object. */
const LIMIT = 16 * 1024;
/** Bytes of a block of SHA-256, and of its result. */
const BLOCK = 64;
const DIGEST = 32;

/** The text that is signed; only one at a time. */
const text = Buffer.allocUnsafeSlow(BLOCK + LIMIT);

/** Returns a function that signs consecutive pieces, in hexadecimal digits; it returns `undefined` if they exceed the limit. */
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
