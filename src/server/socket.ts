/**
 * A WebSocket that carries journal entries: many frames to one write, and a
 * bound on what may wait for a slow reader.
 */
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { type ReaderLimits, drainedBelow } from "./drained.ts";
import type { WebSocketConnection } from "./door.ts";
import { payloadsIn } from "../jupyter/websocket-frame.ts";
import type { Slab } from "../journal/slab.ts";
import type { Sink } from "./relay.ts";

/** Frames that wait for a `flush`. */
interface Waiting {
  readonly pieces: readonly Buffer[];
  readonly slab: Slab | undefined;
}

/**
 * Frames to one client, as they are written: each header with its payload, in
 * pieces that follow each other. What is added before a `flush` leaves by it.
 *
 * It writes beneath the `WebSocket`, whose own frames (pings, a close) may come
 * between two flushes. That holds as long as the socket does not compress:
 * then `ws` writes each frame when it is told to.
 */
export class FrameWriter implements Sink {
  readonly #socket: WebSocket;
  readonly #stream: Duplex | undefined;
  readonly #limits: ReaderLimits;
  #waiting: Waiting[] = [];

  /** Without a stream the socket sends frame by frame, and nothing waits. */
  constructor({ socket, stream }: WebSocketConnection, limits: ReaderLimits) {
    this.#socket = socket;
    this.#stream = stream;
    this.#limits = limits;
  }

  add(pieces: readonly Buffer[], slab?: Slab): void {
    slab?.pin();
    this.#waiting.push({ pieces, slab });
  }

  /** Sends what was added, in order; to a socket that is not open, nothing. */
  flush(): void {
    const all = this.#waiting;
    if (all.length === 0) return;
    this.#waiting = [];
    const isOpen = this.#socket.readyState === this.#socket.OPEN;
    const stream = this.#stream;
    if (!isOpen || stream === undefined) {
      for (const { pieces, slab } of all) {
        if (isOpen) this.#sendEach(pieces);
        slab?.unpin();
      }
      return;
    }
    stream.cork();
    for (const { pieces, slab } of all) {
      const last = pieces.length - 1;
      for (let at = 0; at < last; at += 1) stream.write(pieces[at]);
      const sent = slab === undefined ? undefined : () => slab.unpin();
      stream.write(pieces[last], sent);
    }
    stream.uncork();
  }

  #sendEach(pieces: readonly Buffer[]): void {
    for (const payload of payloadsIn(Buffer.concat(pieces))) {
      this.#socket.send(payload.toString());
    }
  }

  batch(send: () => void): void {
    this.#stream?.cork();
    try {
      send();
    } finally {
      this.#stream?.uncork();
    }
  }

  /**
   * Resolves once less than the limit waits in our process, or the socket is
   * closed. A reader that takes nothing for too long is cut off: what it missed
   * is in the journal.
   */
  async drained(): Promise<boolean> {
    const socket = this.#socket;
    const stream = this.#stream;
    const isOpen = () => socket.readyState === socket.OPEN;
    if (stream === undefined) return isOpen();
    const waiting = () => (isOpen() ? socket.bufferedAmount : undefined);
    if (await drainedBelow({ waiting, stream, socket }, this.#limits)) {
      return isOpen();
    }
    // A reader that wakes up soon hears why; else `ws` gives up waiting for its farewell.
    socket.close(
      TOO_SLOW,
      "nothing was read for too long: come back, and resume",
    );
    return false;
  }
}

/** The reader took nothing of what waited for it; it may come back, and resume. */
export const TOO_SLOW = 4408;

/** How long a client may take to close its end when the server does. */
export const CLOSE_TIMEOUT_MS = 1_000;

/** The server ends: clients are told, and cut off where they do not answer. */
export function closeSockets(sockets: Iterable<WebSocket>): void {
  for (const socket of sockets) {
    socket.close(1001, "the server ends");
    const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS);
    socket.once("close", () => clearTimeout(timer));
  }
}
