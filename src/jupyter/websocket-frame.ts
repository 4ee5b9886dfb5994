/** The header of a WebSocket frame as a server sends it: whole, and unmasked (RFC 6455 §5.2). */

import { lengthOf } from "./pieces.ts";

/** FIN, and the opcode of a text frame. */
const WHOLE_TEXT = 0x81;
/** FIN, and the opcode of a binary frame. */
export const WHOLE_BINARY = 0x82;

/** Bytes of the header before a payload of `size` bytes. */
export function frameHeaderLength(size: number): number {
  if (size < 126) return 2;
  return size < 65_536 ? 4 : 10;
}

/** Bytes of the frame around a payload of `size` bytes. */
export function framedLength(size: number): number {
  return frameHeaderLength(size) + size;
}

/** Writes the header before a payload of `size` bytes. Returns the offset of its end. */
export function writeFrameHeader(
  bytes: Uint8Array,
  at: number,
  size: number,
  first = WHOLE_TEXT,
): number {
  bytes[at] = first;
  if (size < 126) {
    bytes[at + 1] = size;
    return at + 2;
  }
  if (size < 65_536) {
    bytes[at + 1] = 126;
    bytes[at + 2] = size >>> 8;
    bytes[at + 3] = size;
    return at + 4;
  }
  bytes[at + 1] = 127;
  let rest = size;
  for (let offset = at + 9; offset > at + 1; offset -= 1) {
    bytes[offset] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  return at + 10;
}

/** A whole frame. */
export function textFrame(text: string): Buffer {
  const size = Buffer.byteLength(text);
  const frame = Buffer.allocUnsafe(frameHeaderLength(size) + size);
  frame.write(text, writeFrameHeader(frame, 0, size));
  return frame;
}

/** A whole frame in pieces, from pieces of text. */
export function textFrameOf(text: readonly Buffer[]): readonly Buffer[] {
  const size = lengthOf(text);
  const header = Buffer.allocUnsafe(frameHeaderLength(size));
  writeFrameHeader(header, 0, size);
  return [header, ...text];
}

/** The messages in consecutive frames: a string for a text frame. */
export function* messagesIn(frames: Buffer): Generator<string | Buffer> {
  for (const payload of payloadsIn(frames)) {
    const header = frameHeaderLength(payload.length);
    const at = payload.byteOffset - frames.byteOffset - header;
    yield frames[at] === WHOLE_TEXT ? payload.toString() : payload;
  }
}

/** The payloads of consecutive frames. */
export function* payloadsIn(frames: Buffer): Generator<Buffer> {
  for (let at = 0; at < frames.length;) {
    const short = (frames[at + 1] ?? 0) & 0x7f;
    const start = at + (short < 126 ? 2 : short === 126 ? 4 : 10);
    let size = short < 126 ? short : 0;
    if (short >= 126) {
      for (let offset = at + 2; offset < start; offset += 1) {
        size = size * 256 + (frames[offset] ?? 0);
      }
    }
    at = start + size;
    yield frames.subarray(start, at);
  }
}
