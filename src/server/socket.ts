/**
 * A WebSocket that sends journal entries: many frames in one write, and a limit
 * on the bytes that wait for a slow reader.
 */
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import { type ReaderLimits, drainedBelow } from "./drained.ts";
import type { WebSocketConnection } from "./door.ts";
import { messagesIn } from "../jupyter/websocket-frame.ts";
import type { PinnedMemory } from "../jupyter/record-memory.ts";
import type { Sink } from "./relay.ts";

/** Frames that wait for a `flush`. */
interface WaitingFrames {
  readonly pieces: readonly Buffer[];
  readonly memory: PinnedMemory | undefined;
}

/**
 * Writes frames to one client: each header with its payload, in consecutive
 * pieces. `flush` sends all frames that were added before it.
 *
 * It writes to the stream below the `WebSocket`, whose own frames (pings, a
 * close) may come between two flushes. This requires that the socket does not
 * compress: then `ws` writes each frame at once.
 */
export class FrameWriter implements Sink {
  readonly #socket: WebSocket;
  readonly #stream: Duplex | undefined;
  readonly #limits: ReaderLimits;
  #waiting: WaitingFrames[] = [];

  /** Without a stream, the socket sends each frame itself, and nothing waits. */
  constructor({ socket, stream }: WebSocketConnection, limits: ReaderLimits) {
    this.#socket = socket;
    this.#stream = stream;
    this.#limits = limits;
  }

  get isOpen(): boolean {
    return this.#socket.readyState === this.#socket.OPEN;
  }

  add(pieces: readonly Buffer[], memory?: PinnedMemory): void {
    memory?.pin();
    this.#waiting.push({ pieces, memory });
  }

  /** Sends the added frames, in order. If the socket is not open, drops them. */
  flush(): void {
    const all = this.#waiting;
    if (all.length === 0) return;
    this.#waiting = [];
    const { isOpen } = this;
    const stream = this.#stream;
    if (!isOpen || stream === undefined) {
      for (const { pieces, memory } of all) {
        if (isOpen) this.#sendEach(pieces);
        memory?.unpin();
      }
      return;
    }
    stream.cork();
    for (const { pieces, memory } of all) {
      const last = pieces.length - 1;
      for (let at = 0; at < last; at += 1) stream.write(pieces[at]);
      const sent = memory === undefined ? undefined : () => memory.unpin();
      stream.write(pieces[last], sent);
    }
    stream.uncork();
  }

  #sendEach(pieces: readonly Buffer[]): void {
    for (const payload of messagesIn(Buffer.concat(pieces))) {
      this.#socket.send(payload);
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
   * Resolves when less than the limit waits in this process, or the socket is
   * closed. A reader that reads nothing for too long is disconnected: what it
   * missed is in the journal.
   */
  async drained(): Promise<boolean> {
    const socket = this.#socket;
    const stream = this.#stream;
    if (stream === undefined) return this.isOpen;
    const waiting = () => (this.isOpen ? socket.bufferedAmount : undefined);
    if (await drainedBelow({ waiting, stream, socket }, this.#limits)) {
      return this.isOpen;
    }
    // A reader that reads again soon receives the reason; otherwise `ws` stops waiting for its close frame.
    socket.close(
      TOO_SLOW,
      "the client read nothing for too long: reconnect, and resume",
    );
    return false;
  }
}

/** Close code: the reader read nothing for too long. It may reconnect and resume. */
export const TOO_SLOW = 4408;

/** How long a client may take to close its end when the server does. */
export const CLOSE_TIMEOUT_MS = 1_000;

/** Codes of close frames: the server ends; the server ends, and another one goes on. */
export const GOING_AWAY = 1001;
export const SERVICE_RESTART = 1012;

/** Sends a close frame because the server ends; terminates the sockets whose clients do not answer. Resolves when all have closed. */
export async function closeSockets(
  sockets: Iterable<WebSocket>,
  code: number,
): Promise<void> {
  const closing = [...sockets].map(
    (socket) =>
      new Promise<void>((resolve) => {
        socket.close(code, "the server ends");
        const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS);
        socket.once("close", () => {
          clearTimeout(timer);
          resolve();
        });
      }),
  );
  await Promise.all(closing);
}
