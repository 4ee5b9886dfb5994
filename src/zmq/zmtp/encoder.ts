/**
 * Encodes messages as ZMTP frames: a flags byte, a length of one or eight bytes,
 * the body.
 *
 * Small frames are copied together, so that many of them need one write. Large
 * frames are written without a copy. The result of `encode` is valid until
 * `reuse`, or permanently after `keep`.
 */
import type { PeerQueue } from "../peer-queue.ts";
import type { Frames } from "../transport.ts";

export const MORE = 1;
export const LONG = 2;
export const COMMAND = 4;

/** The bytes of messages in one write; also the most that a lost connection loses. */
export const WRITE_SIZE = 64 * 1024; // bytes

/** A frame of this size or more is written without a copy, because the copy costs more. */
const BY_REFERENCE = 16 * 1024; // bytes

const SLAB_SIZE = 2 * WRITE_SIZE;

export class Encoder {
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_SIZE);
  /** The slab before `reservedUpTo` belongs to earlier pieces; the current piece is from `from` to `used`. */
  #reservedUpTo = 0;
  #from = 0;
  #used = 0;
  #pieces: Uint8Array[] = [];

  /** Encodes the next messages of the queue, at least one. The caller writes the pieces together, in this order. */
  encode(line: PeerQueue): Uint8Array[] {
    let bytes = 0;
    while (bytes < WRITE_SIZE) {
      const frames = line.shift();
      if (frames === undefined) break;
      bytes += this.#message(frames);
    }
    return this.#taken();
  }

  command(name: string, body: Uint8Array): Uint8Array[] {
    const length = 1 + name.length + body.length;
    this.#header(COMMAND, length);
    this.#copy(Buffer.from([name.length, ...Buffer.from(name, "latin1")]));
    this.#copy(body);
    return this.#taken();
  }

  /** All pieces have been written: their memory can be reused. */
  reuse(): void {
    this.#from = this.#used = this.#reservedUpTo;
  }

  /** The pieces are still being written: their memory is not reused. */
  keep(): void {
    this.#reservedUpTo = this.#from = this.#used;
  }

  #message(frames: Frames): number {
    let bytes = 0;
    const last = frames.length - 1;
    for (let i = 0; i <= last; i++) {
      const frame = frames[i];
      if (frame === undefined) continue; // a hole in the array is not a frame
      this.#header(i < last ? MORE : 0, frame.length);
      if (frame.length < BY_REFERENCE) {
        this.#copy(frame);
      } else {
        this.#cut();
        this.#pieces.push(frame);
      }
      bytes += 9 + frame.length;
    }
    return bytes;
  }

  #header(flags: number, length: number): void {
    this.#reserve(9);
    const slab = this.#slab;
    if (length <= 255) {
      slab[this.#used++] = flags;
      slab[this.#used++] = length;
      return;
    }
    slab[this.#used++] = flags | LONG;
    slab.writeUInt32BE(Math.floor(length / 2 ** 32), this.#used);
    slab.writeUInt32BE(length % 2 ** 32, this.#used + 4);
    this.#used += 8;
  }

  #copy(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#slab.set(bytes, this.#used);
    this.#used += bytes.length;
  }

  #reserve(size: number): void {
    if (this.#used + size <= SLAB_SIZE) return;
    this.#cut();
    this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
    this.#reservedUpTo = this.#from = this.#used = 0;
  }

  #cut(): void {
    if (this.#used === this.#from) return;
    this.#pieces.push(this.#slab.subarray(this.#from, this.#used));
    this.#from = this.#used;
  }

  #taken(): Uint8Array[] {
    this.#cut();
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }
}
