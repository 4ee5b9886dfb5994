/**
 * Messages that wait for a peer, oldest first, bounded by their bytes.
 *
 * A full queue refuses a new message. A queued message is never dropped for a
 * newer one.
 */
import { checkRoom, type Frames } from "./transport.ts";

export class PeerQueue {
  #waiting: (Frames | undefined)[] = [];
  #head = 0;
  #bytes = 0;

  get length(): number {
    return this.#waiting.length - this.#head;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Throws a `LinkError` if more bytes than the limit would wait. `elsewhere`
   * counts too: the bytes that left the queue and are not yet sent.
   */
  push(frames: Frames, elsewhere = 0): void {
    if (frames.length === 0) {
      throw new RangeError("A ZeroMQ message has at least one frame");
    }
    const size = sizeOf(frames);
    checkRoom(this.#bytes + elsewhere, size);
    this.#waiting.push(frames);
    this.#bytes += size;
  }

  shift(): Frames | undefined {
    const frames = this.#waiting[this.#head];
    if (frames === undefined) return undefined;
    this.#waiting[this.#head] = undefined; // so that a long queue does not keep messages that have left it
    this.#head += 1;
    this.#bytes -= sizeOf(frames);
    if (this.#head === this.#waiting.length) {
      this.#waiting.length = 0;
      this.#head = 0;
    } else if (this.#head > 1024 && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return frames;
  }

  clear(): void {
    this.#waiting = [];
    this.#head = 0;
    this.#bytes = 0;
  }
}

/** Bytes on the wire, by the larger of ZMTP's two frame headers. */
function sizeOf(frames: Frames): number {
  let bytes = 0;
  for (const frame of frames) bytes += 9 + frame.length;
  return bytes;
}
