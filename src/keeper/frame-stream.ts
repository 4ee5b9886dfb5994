/**
 * Frames over a byte stream, the same for a keeper and for its server: it reads
 * them from any cut, writes them in order, and notices a peer that is gone
 * without a word.
 */
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type Frame,
  FrameReader,
  frameKinds,
  frameOf,
  HELLO_LIMIT,
  MAGIC,
} from "./frames.ts";

/** The time between two pings. */
const PING_MS = 15_000;
/** A peer that has sent nothing for this long is gone. */
const SILENT_MS = 45_000;
/** If a timer fires this late, this process did not run, and the peer's bytes may still be unread. */
const LATE_MS = 5_000;
/** Bytes that may wait in this process for the peer. */
const WAITING_LIMIT = 1024 * 1024;
/** Bytes that may wait before bulk data does. */
const BUSY_LIMIT = 128 * 1024;

export interface FrameStreamOptions {
  /** peer → here, in order. An error that it throws ends the stream. */
  readonly onFrame: (frame: Frame) => void;
  /** Called once, when the stream has ended for whatever reason. */
  readonly onClose: (why: string) => void;
  /** Milliseconds; for tests. */
  readonly ping_ms?: number | undefined;
}

export class FrameStream {
  readonly #stream: Duplex;
  readonly #options: FrameStreamOptions;
  readonly #reader = new FrameReader(HELLO_LIMIT);
  readonly #ping_ms: number;
  #timer: NodeJS.Timeout | undefined;
  #heardAt = performance.now();
  #isClosed = false;

  constructor(stream: Duplex, options: FrameStreamOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#ping_ms = options.ping_ms ?? PING_MS;
    stream.on("data", (chunk: Buffer) => this.#received(chunk));
    stream.on("error", (error: NodeJS.ErrnoException) =>
      this.#closed(error.code ?? "an error of the stream"),
    );
    stream.on("end", () => this.close("the peer has closed the stream"));
    stream.on("close", () => this.#closed("the stream has closed"));
    this.write([MAGIC]);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** The peer has shown who it is: its frames may be large from now on, and it is pinged. */
  accept(limit: number): void {
    this.#reader.limit = limit;
    this.#schedulePing();
  }

  write(pieces: readonly Uint8Array[]): void {
    if (this.#isClosed) return;
    for (const piece of pieces) this.#stream.write(piece);
  }

  /** Writes many frames with few calls of the system. */
  together(write: () => void): void {
    this.#stream.cork();
    try {
      write();
    } finally {
      this.#stream.uncork();
    }
  }

  /** Whether so many bytes wait that the peer should read first. */
  get isFull(): boolean {
    return this.#stream.writableLength > WAITING_LIMIT;
  }

  /** Whether so many bytes wait that bulk data should wait elsewhere: what comes next must not wait behind it. */
  get isBusy(): boolean {
    return this.#stream.writableLength > BUSY_LIMIT;
  }

  /** Resolves when the peer has read what waits, or the stream has ended. */
  async drained(): Promise<void> {
    if (this.#isClosed) return;
    // A stream that reports late that it is full must not keep its caller in a loop.
    if (!this.#stream.writableNeedDrain) return nextTurn();
    await new Promise<void>((resolve) => {
      const done = () => {
        this.#stream.off("drain", done);
        this.#stream.off("close", done);
        resolve();
      };
      this.#stream.once("drain", done);
      this.#stream.once("close", done);
    });
  }

  /** Writes what waits, then ends the stream. */
  end(why: string): void {
    if (this.#isClosed) return;
    this.#stream.end();
    this.#closed(why);
    setTimeout(() => this.#stream.destroy(), LATE_MS).unref();
  }

  close(why: string): void {
    this.#stream.destroy();
    this.#closed(why);
  }

  #received(chunk: Buffer): void {
    this.#heardAt = performance.now();
    try {
      for (const frame of this.#reader.read(chunk)) {
        if (this.#isClosed) return;
        if (frame.kind === frameKinds.ping) this.write(pongFrame());
        else if (frame.kind !== frameKinds.pong) this.#options.onFrame(frame);
      }
    } catch (error) {
      this.close(error instanceof Error ? error.message : "an error");
    }
  }

  #schedulePing(): void {
    const due = performance.now() + this.#ping_ms;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (this.#isClosed) return;
      const now = performance.now();
      if (now - due > LATE_MS) this.#heardAt = now;
      const silent_ms = (SILENT_MS / PING_MS) * this.#ping_ms;
      if (now - this.#heardAt > silent_ms) {
        this.close(`nothing was received for ${silent_ms / 1000} s`);
        return;
      }
      this.write(frameOf(frameKinds.ping));
      this.#schedulePing();
    }, this.#ping_ms);
    this.#timer.unref();
  }

  #closed(why: string): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#options.onClose(why);
  }
}

/** With this program's clock: milliseconds since 1970. */
function pongFrame(): Buffer[] {
  const clock = Buffer.alloc(8);
  clock.writeDoubleLE(Date.now());
  return frameOf(frameKinds.pong, clock);
}
