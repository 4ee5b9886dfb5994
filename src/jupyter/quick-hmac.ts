/**
 * HMAC-SHA-256 of a small text with two one-shot hashes. Creating an `Hmac` object
 * costs more than hashing a small message.
 */
import { createHash, hash } from "node:crypto";

/** Bytes. For a larger text the copy costs as much as the object. */
const LIMIT = 16 * 1024;
/** Bytes of a block of SHA-256, and of its result. */
export const BLOCK = 64;
const DIGEST = 32;

/** The bytes that are hashed before a text, and before the hash of that (RFC 2104). */
export interface Pads {
  /** One block. */
  readonly inner: Buffer;
  /** One block, and room for the hash of the text. */
  readonly outer: Buffer;
}

export function padsOf(key: Buffer): Pads {
  const block = Buffer.alloc(BLOCK);
  const short =
    key.length > BLOCK ? createHash("sha256").update(key).digest() : key;
  short.copy(block);
  const outer = Buffer.alloc(BLOCK + DIGEST);
  outer.set(block.map((byte) => byte ^ 0x5c));
  return { inner: Buffer.from(block.map((byte) => byte ^ 0x36)), outer };
}

/** The HMAC of a text that follows the inner pad, in hexadecimal digits. Writes into `outer`. */
export function hmacOf(padded: Uint8Array, outer: Buffer): string {
  outer.write(hash("sha256", padded, "binary"), BLOCK, "latin1");
  return hash("sha256", outer, "hex");
}

/** The text that is signed; only one at a time. */
const text = Buffer.allocUnsafeSlow(BLOCK + LIMIT);

/** Returns a function that signs consecutive pieces, in hexadecimal digits; it returns `undefined` if they exceed the limit. */
export function quickHmac(
  key: Buffer,
): (pieces: readonly Uint8Array[]) => string | undefined {
  const { inner, outer } = padsOf(key);
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
    return hmacOf(text.subarray(0, size), outer);
  };
}
