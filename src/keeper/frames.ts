/**
 * The frames of the stream between a keeper and its server: four bytes of magic,
 * then frames. `docs/keeper.md` describes them byte by byte.
 *
 *     length u32   of what follows
 *     kind   u8
 *     body
 *
 * All numbers are little endian. The first frame of each side is its hello; the
 * magic and the hello are the same in all versions of the protocol.
 */
import { bufferOf, objectIn } from "../jupyter/message.ts";
import { takeMemory } from "../jupyter/record-memory.ts";
import { lengthOf } from "../jupyter/pieces.ts";
import { MESSAGE_LIMIT } from "../zmq/transport.ts";

export const MAGIC = Buffer.from("KKPR");
/** The version of the protocol that this program speaks, and the lowest that it understands. */
export const PROTOCOL = 2;
export const LOWEST_PROTOCOL = 1;

export const frameKinds = {
  hello: 0x01,
  // server → keeper
  command: 0x10,
  send: 0x11,
  follow: 0x12,
  hold: 0x13,
  ack: 0x14,
  open: 0x15, // from version 2 on
  // both ways
  ping: 0x20,
  pong: 0x21,
  data: 0x22, // from version 2 on
  credit: 0x23,
  end: 0x24,
  reset: 0x25,
  // keeper → server
  event: 0x30,
  gap: 0x31,
  done: 0x32,
  failed: 0x33,
  displaced: 0x34,
  opened: 0x35, // from version 2 on
  refused: 0x36,
} as const;

/** The most bytes of a frame: the largest message of a kernel, and its envelope. */
export const FRAME_LIMIT = MESSAGE_LIMIT + 16 * 1024 * 1024;
/** The most bytes of a frame from a peer that has not shown the secret yet. */
export const HELLO_LIMIT = 64 * 1024;
/** Bytes of the length and the kind. */
const HEAD = 5;
/** Bytes. The pieces of a smaller frame are copied into one. */
const SMALL = 64 * 1024;

export interface Frame {
  readonly kind: number;
  readonly body: Buffer;
  /** Whether `body` begins its own memory, which nothing else uses. */
  readonly isOwn: boolean;
}

/** The peer does not follow the protocol. The message contains none of its bytes. */
export class StreamError extends Error {
  override readonly name = "StreamError";
}

/** The bytes of a frame. Large pieces are not copied. */
export function frameOf(kind: number, ...body: Uint8Array[]): Buffer[] {
  const size = lengthOf(body);
  if (size >= SMALL) return [headOf(kind, size), ...body.map(bufferOf)];
  const frame = Buffer.allocUnsafe(HEAD + size);
  writeHead(frame, kind, size);
  let at = HEAD;
  for (const piece of body) {
    frame.set(piece, at);
    at += piece.length;
  }
  return [frame];
}

export function jsonFrame(kind: number, value: unknown): Buffer[] {
  return frameOf(kind, Buffer.from(JSON.stringify(value)));
}

function headOf(kind: number, size: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD);
  writeHead(head, kind, size);
  return head;
}

function writeHead(bytes: Buffer, kind: number, size: number): void {
  bytes.writeUInt32LE(size + 1, 0);
  bytes[4] = kind;
}

/** The JSON object in a frame's body. Throws a `StreamError`. */
export function objectOf(body: Buffer): Readonly<Record<string, unknown>> {
  const value = objectIn(body);
  if (value === undefined) throw new StreamError("a body is not a JSON object");
  return value;
}

/** Reads frames from a stream that is cut anywhere. */
export class FrameReader {
  /** The most bytes of a frame. */
  limit: number;
  /** The bytes of the magic or of a head that have arrived. */
  readonly #head = Buffer.alloc(HEAD);
  #headSize = 0;
  #hasMagic: boolean;
  /** A body that is not complete. */
  #body: Buffer | undefined;
  #filled = 0;

  /** `hasMagic`: the stream begins with a frame, as a file of frames does. */
  constructor(limit: number, { hasMagic = false } = {}) {
    this.limit = limit;
    this.#hasMagic = hasMagic;
  }

  /** The frames that are complete with this chunk. Small ones are views of it. Throws a `StreamError`. */
  *read(chunk: Buffer): Generator<Frame, void> {
    let at = 0;
    while (at < chunk.length) {
      if (this.#body === undefined) {
        at += this.#readHead(chunk, at);
        if (this.#headSize < HEAD) continue;
        const size = this.#bodySize();
        if (chunk.length - at >= size) {
          const body = chunk.subarray(at, (at += size));
          yield this.#take(body, false);
          continue;
        }
        this.#body = takeMemory(size).subarray(0, size);
        this.#filled = 0;
      }
      const body = this.#body;
      const part = chunk.subarray(at, at + body.length - this.#filled);
      body.set(part, this.#filled);
      this.#filled += part.length;
      at += part.length;
      if (this.#filled === body.length) {
        this.#body = undefined;
        yield this.#take(body, true);
      }
    }
  }

  /** Returns how many bytes it has taken. */
  #readHead(chunk: Buffer, at: number): number {
    const size = this.#hasMagic ? HEAD : MAGIC.length;
    const end = Math.min(chunk.length, at + size - this.#headSize);
    this.#headSize += chunk.copy(this.#head, this.#headSize, at, end);
    if (!this.#hasMagic) {
      const some = this.#head.subarray(0, this.#headSize);
      if (!MAGIC.subarray(0, this.#headSize).equals(some)) {
        throw new StreamError("it does not begin as a keeper's stream");
      }
      if (this.#headSize === MAGIC.length) {
        this.#hasMagic = true;
        this.#headSize = 0;
      }
    }
    return end - at;
  }

  #bodySize(): number {
    const length = this.#head.readUInt32LE(0);
    if (length === 0 || length > this.limit) {
      throw new StreamError(`a frame of ${length} bytes`);
    }
    return length - 1;
  }

  #take(body: Buffer, isOwn: boolean): Frame {
    this.#headSize = 0;
    return { kind: this.#head[4] ?? 0, body, isOwn };
  }
}

/** Writes an unsigned number of 64 bits. Numbers of events are safe integers. */
export function writeU64(bytes: Buffer, at: number, number: number): void {
  bytes.writeUInt32LE(number % 2 ** 32, at);
  bytes.writeUInt32LE(Math.floor(number / 2 ** 32), at + 4);
}

/** Throws a `StreamError` if it is not a safe integer. */
export function readU64(bytes: Buffer, at: number): number {
  const number = bytes.readUInt32LE(at) + bytes.readUInt32LE(at + 4) * 2 ** 32;
  if (!Number.isSafeInteger(number))
    throw new StreamError("a number too large");
  return number;
}
