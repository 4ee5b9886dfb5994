/** What came in pieces, as one: in short steps, since a copy of much takes its time. */

/** The pieces one after the other, and `room` bytes behind them that are not looked at. */
export function* joined(
  pieces: readonly Uint8Array[],
  room = 0,
): Generator<void, Buffer> {
  let size = 0;
  for (const piece of pieces) size += piece.length;
  const whole = Buffer.allocUnsafeSlow(size + room);
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

/** Bytes of one step. */
const STEP = 256 * 1024;
