/** Bytes in pieces that follow each other. */

/** The pieces as one, and `room` bytes behind them that are not looked at. In short steps, since a copy of much takes its time. */
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
