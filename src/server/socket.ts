/**
 * A WebSocket that carries journal entries: many frames to one write, large
 * ones uncopied, and a bound on what may wait for a slow reader.
 */
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { type Patience, taken } from "./patience.ts";
import type { WebSocketConnection } from "./door.ts";
import type { Piece, Sink } from "./relay.ts";

/** Frames from here on leave uncopied, in pieces of their own. */
const LARGE = 64 * 1024; // bytes
/** FIN, and the opcode of a text frame (RFC 6455 §5.2). */
const WHOLE_TEXT = 0x81;

interface Frame {
  readonly pieces: readonly Piece[];
  /** Bytes of the payload. */
  readonly size: number;
}

/**
 * Text frames to one client. What is added before a `flush` leaves by it: small
 * frames lie side by side in one buffer, and their bytes are copied just there.
 *
 * It writes beneath the `WebSocket`, whose own frames (pings, a close) may come
 * between two flushes. That holds as long as the socket does not compress:
 * then `ws` writes each frame when it is told to.
 */
export class FrameWriter implements Sink {
  readonly #socket: WebSocket;
  readonly #stream: Duplex | undefined;
  readonly #patience: Patience;
  #frames: Frame[] = [];

  /** Without a stream the socket sends frame by frame, and nothing waits. */
  constructor({ socket, stream }: WebSocketConnection, patience: Patience) {
    this.#socket = socket;
    this.#stream = stream;
    this.#patience = patience;
  }

  /** One frame, in pieces that follow each other. */
  add(pieces: readonly Piece[]): void {
    let size = 0;
    for (const piece of pieces) size += lengthOf(piece);
    this.#frames.push({ pieces, size });
  }

  /** Sends what was added, in order; to a socket that is not open, nothing. */
  flush(): void {
    const frames = this.#frames;
    if (frames.length === 0) return;
    this.#frames = [];
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    const stream = this.#stream;
    if (stream === undefined) {
      for (const { pieces } of frames) this.#socket.send(joined(pieces));
      return;
    }
    stream.cork();
    let from = 0;
    for (const [index, { pieces, size }] of frames.entries()) {
      if (size < LARGE) continue;
      writeSmall(stream, frames.slice(from, index));
      stream.write(headerOf(size));
      for (const piece of pieces) stream.write(piece);
      from = index + 1;
    }
    writeSmall(stream, frames.slice(from));
    stream.uncork();
  }

  together(send: () => void): void {
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
    const isOpen = () => socket.readyState === WebSocket.OPEN;
    if (stream === undefined) return isOpen();
    const waiting = () => (isOpen() ? socket.bufferedAmount : undefined);
    if (await taken({ waiting, stream, socket }, this.#patience)) {
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

function writeSmall(stream: Duplex, frames: readonly Frame[]): void {
  if (frames.length === 0) return;
  let total = 0;
  for (const { size } of frames) total += headerLength(size) + size;
  const bytes = Buffer.allocUnsafe(total);
  let at = 0;
  for (const { pieces, size } of frames) {
    at = writeHeader(bytes, at, size);
    for (const piece of pieces) {
      at +=
        typeof piece === "string"
          ? bytes.write(piece, at)
          : piece.copy(bytes, at);
    }
  }
  stream.write(bytes);
}

function headerOf(size: number): Buffer {
  const header = Buffer.allocUnsafe(headerLength(size));
  writeHeader(header, 0, size);
  return header;
}

function headerLength(size: number): number {
  if (size < 126) return 2;
  return size < 65_536 ? 4 : 10;
}

/** Returns where it ends. Unmasked, as a server's frames are. */
function writeHeader(bytes: Buffer, at: number, size: number): number {
  bytes[at] = WHOLE_TEXT;
  if (size < 126) {
    bytes[at + 1] = size;
    return at + 2;
  }
  if (size < 65_536) {
    bytes[at + 1] = 126;
    return bytes.writeUInt16BE(size, at + 2);
  }
  bytes[at + 1] = 127;
  return bytes.writeBigUInt64BE(BigInt(size), at + 2);
}

function lengthOf(piece: Piece): number {
  return typeof piece === "string" ? Buffer.byteLength(piece) : piece.length;
}

function joined(pieces: readonly Piece[]): string {
  return pieces.map((piece) => piece.toString()).join("");
}

/** The reader took nothing of what waited for it; it may come back, and resume. */
export const TOO_SLOW = 4408;

/** How long a client may take to close its end when the server does. */
export const GOODBYE_MS = 1_000;

/** The server ends: clients are told, and cut off where they do not answer. */
export function sayGoodbye(sockets: Iterable<WebSocket>): void {
  for (const socket of sockets) {
    socket.close(1001, "the server ends");
    const timer = setTimeout(() => socket.terminate(), GOODBYE_MS);
    socket.once("close", () => clearTimeout(timer));
  }
}
