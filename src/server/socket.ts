/**
 * A WebSocket that carries journal entries: many frames to one system call,
 * large ones uncopied, and a bound on what may wait for a slow reader.
 */
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";

/** Text frames from here on leave in fragments, so that nothing is copied to join them. */
const WHOLE = 64 * 1024; // bytes

/** Sends one text frame in pieces that follow each other. */
export function sendPieces(socket: WebSocket, pieces: readonly Buffer[]): void {
  const [only] = pieces;
  if (pieces.length === 1 && only !== undefined) {
    socket.send(only, { binary: false });
    return;
  }
  let size = 0;
  for (const piece of pieces) size += piece.length;
  if (size <= WHOLE) {
    socket.send(Buffer.concat(pieces, size), { binary: false });
    return;
  }
  for (const [index, piece] of pieces.entries()) {
    socket.send(piece, { binary: false, fin: index === pieces.length - 1 });
  }
}

/** Everything that `send` sends goes out together. */
export function together(stream: Duplex, send: () => void): void {
  stream.cork();
  try {
    send();
  } finally {
    stream.uncork();
  }
}

/** What a reader may leave unread in our process, and for how long. */
export interface Patience {
  /** Bytes. */
  readonly limit: number;
  readonly patience_ms: number;
}

/** The reader took nothing of what waited for it; it may come back, and resume. */
export const TOO_SLOW = 4408;

/**
 * Resolves once less than `limit` bytes wait in our process, or the socket is
 * closed. A reader that takes nothing for `patience_ms` is cut off: what it
 * missed is in the journal.
 */
export async function drained(
  socket: WebSocket,
  stream: Duplex,
  { limit, patience_ms }: Patience,
): Promise<void> {
  let left = patience_ms;
  let waiting = socket.bufferedAmount;
  while (waiting >= limit && socket.readyState === WebSocket.OPEN) {
    const began = performance.now();
    await drainOrClose(socket, stream, left);
    const now = socket.bufferedAmount;
    if (now < waiting) left = patience_ms;
    else left -= performance.now() - began;
    waiting = now;
    if (left <= 0) {
      // A reader that wakes up soon hears why; else `ws` gives up waiting for its farewell.
      socket.close(
        TOO_SLOW,
        "nothing was read for too long: come back, and resume",
      );
      return;
    }
  }
}

function drainOrClose(
  socket: WebSocket,
  stream: Duplex,
  patience_ms: number,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stream.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    const timer = setTimeout(done, Math.min(patience_ms, 1_000));
    stream.once("drain", done);
    socket.once("close", done);
  });
}
