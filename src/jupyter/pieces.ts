/** Functions for bytes in consecutive pieces. */

/** Copies the pieces into one buffer, followed by `room` bytes with any content. Works in short steps, because a large copy takes long. */
export function* joined(
  pieces: readonly Uint8Array[],
  room = 0,
): Generator<void, Buffer> {
  const whole = Buffer.allocUnsafeSlow(lengthOf(pieces) + room);
  let at = 0;
  for (const piece of pieces) {
    for (let from = 0; from < piece.length; from += STEP) {
      const part = piece.subarray(from, from + STEP);
      whole.set(part, at);
      at += part.length;
      yield;
    }
  }
  return whole;
}

/** Bytes of all pieces. */
export function lengthOf(pieces: readonly Uint8Array[]): number {
  let length = 0;
  for (const piece of pieces) length += piece.length;
  return length;
}

/** Bytes of one step. */
const STEP = 256 * 1024;
