/**
 * Large messages on a WebSocket, read as they come. `ws` waits for a whole
 * frame, and then copies, unmasks and checks all of it in one go, while nobody
 * else is served; so it gets only what is small. What is large, or comes in
 * fragments, is unmasked and checked here, chunk by chunk, and handed on in
 * pieces. Where such a message breaks the protocol, `ws` is given something
 * that breaks it in the same way: it knows how to end a connection.
 */
import { isUtf8 } from "node:buffer";
import type { Duplex, Writable } from "node:stream";
import { type ServerOptions, WebSocket } from "ws";

/** Frames from here on are read here. */
const LARGE = 64 * 1024; // bytes
/** Bytes of one piece; the least is for messages in many fragments. */
const PIECE = 1024 * 1024;
const LEAST_PIECE = 4 * 1024;

/** Frames by which `ws` ends a connection; the code of the close frame that it answers with. */
const WRONG_ORDER = Buffer.from([0x80, 0x80, 0, 0, 0, 0]); // 1002: a continuation of nothing
const NOT_UTF8 = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff]); // 1007
const TOO_LARGE = Buffer.alloc(10, 0xff).fill(0x81, 0, 1); // 1009: more than 2^53 bytes

const NOTHING = Buffer.alloc(0);
const FIN = 0x80;
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const MASKED = 0x80;

/** What `ws` does at its server's end of a handshake, and its types keep to themselves. */
interface Settable extends WebSocket {
  readonly _receiver: Writable;
  setSocket(stream: Duplex, head: Buffer, options: ServerOptions): void;
}

/** The server's end of a WebSocket. A large message comes as a list of buffers. */
export class PatientSocket extends WebSocket {
  setSocket(stream: Duplex, head: Buffer, options: ServerOptions): void {
    (WebSocket.prototype as Settable).setSocket.call(
      this,
      stream,
      head,
      options,
    );
    const receiver = (this as unknown as Settable)._receiver;
    const large = new LargeMessages({
      limit: options.maxPayload ?? Infinity,
      isOver: () => receiver.destroyed || receiver.writableEnded,
      small: receiver.write.bind(receiver) as (bytes: Buffer) => boolean,
      message: (pieces, isBinary) => this.emit("message", pieces, isBinary),
    });
    receiver.write = (bytes: Buffer) => large.take(bytes);
  }
}

/** As `ws` makes them where hands were shaken. */
const ServersSocket = PatientSocket as unknown as new (
  address: null,
  protocols: undefined,
  options: ServerOptions,
) => PatientSocket;

/** A server's end of a WebSocket on which no hands were shaken; `head` is what came before. */
export function plainWebSocket(
  stream: Duplex,
  head: Buffer,
  options: ServerOptions,
): PatientSocket {
  const socket = new ServersSocket(null, undefined, options);
  socket.setSocket(stream, head, options);
  return socket;
}

interface Reader {
  /** Most bytes of a message. */
  readonly limit: number;
  /** Whether nothing is read any more. */
  readonly isOver: () => boolean;
  /** Frames for `ws`; false where it wants no more for now. */
  readonly small: (bytes: Buffer) => boolean;
  readonly message: (pieces: Buffer[], isBinary: boolean) => void;
}

interface FrameHeader {
  readonly isLast: boolean;
  /** Its first byte, without the bit of the last. */
  readonly kind: number;
  /** Of the payload. */
  readonly length: number;
  /** `undefined` where it is not masked. */
  readonly mask: Buffer | undefined;
  /** Where the payload begins. */
  readonly end: number;
}

export class LargeMessages {
  readonly #reader: Reader;
  /** The beginning of a header. */
  #rest = NOTHING;
  /** Bytes that are still to come of a frame for `ws`. */
  #passing = 0;
  /** And of one that is read here. */
  #coming = 0;
  #isLast = false;
  #mask = NOTHING;
  #place = 0;
  #message: Unfinished | undefined;

  constructor(reader: Reader) {
    this.#reader = reader;
  }

  /** Takes what came; false where `ws` wants no more for now. */
  take(chunk: Buffer): boolean {
    const { small, isOver } = this.#reader;
    const bytes =
      this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = NOTHING;
    let isReady = true;
    let from = 0; // from here on it is for `ws`
    let at = 0;
    const pass = (piece: Buffer) => {
      if (piece.length > 0 && !isOver()) isReady = small(piece) && isReady;
    };
    while (at < bytes.length) {
      if (this.#passing > 0) {
        const size = Math.min(this.#passing, bytes.length - at);
        this.#passing -= size;
        at += size;
        continue;
      }
      if (this.#coming > 0) {
        at = from = this.#fill(bytes, at);
      } else {
        const header = headerAt(bytes, at);
        if (header === undefined) {
          this.#rest = Buffer.from(bytes.subarray(at));
          break;
        }
        if (!this.#isOurs(header)) {
          this.#passing = header.length;
          at = header.end;
          continue;
        }
        pass(bytes.subarray(from, at));
        at = from = header.end;
        this.#begin(header);
      }
      const fault = this.#goOn();
      if (fault !== undefined) {
        pass(fault);
        return isReady;
      }
    }
    pass(bytes.subarray(from, bytes.length - this.#rest.length));
    return isReady;
  }

  #isOurs({ isLast, kind, length, mask }: FrameHeader): boolean {
    if (mask === undefined) return false;
    if (kind === CONTINUATION) return this.#message !== undefined;
    if (kind !== TEXT && kind !== BINARY) return false;
    return this.#message !== undefined || !isLast || length >= LARGE;
  }

  #begin({ isLast, kind, length, mask }: FrameHeader): void {
    if (kind === CONTINUATION) this.#message?.announce(length);
    else if (this.#message !== undefined) this.#message.fault = WRONG_ORDER;
    else {
      const { limit } = this.#reader;
      this.#message = new Unfinished(kind === BINARY, limit, length);
    }
    this.#isLast = isLast;
    this.#coming = length;
    this.#mask = Buffer.from(mask ?? []);
    this.#place = 0;
  }

  /** Returns where what is read ends. */
  #fill(bytes: Buffer, at: number): number {
    const size = Math.min(this.#coming, bytes.length - at);
    const payload = bytes.subarray(at, at + size);
    this.#message?.add(payload, this.#mask, this.#place);
    this.#place += size;
    this.#coming -= size;
    return at + size;
  }

  /** After the payload of a frame, or a part of it. Returns what ends the connection, if anything does. */
  #goOn(): Buffer | undefined {
    const message = this.#message;
    if (message === undefined) return undefined;
    const isWhole = this.#isLast && this.#coming === 0;
    if (isWhole) message.finish();
    if (message.fault !== undefined) return message.fault;
    if (!isWhole) return undefined;
    this.#message = undefined;
    const { isOver, message: tell } = this.#reader;
    if (!isOver()) tell(message.pieces, message.isBinary);
    return undefined;
  }
}

/** A message that is on its way. */
class Unfinished {
  readonly isBinary: boolean;
  readonly pieces: Buffer[] = [];
  /** What ends the connection. */
  fault: Buffer | undefined;
  readonly #limit: number;
  /** The beginning of a character. */
  #begun: Buffer = NOTHING;
  /** Bytes that have been announced and have not come yet. */
  #missing = 0;
  #size = 0;
  #piece: Buffer = NOTHING;
  #used = 0;

  constructor(isBinary: boolean, limit: number, length: number) {
    this.isBinary = isBinary;
    this.#limit = limit;
    this.announce(length);
  }

  /** So many more bytes come. */
  announce(length: number): void {
    this.#missing += length;
    if (this.#size + this.#missing > this.#limit) this.fault = TOO_LARGE;
  }

  /** `place` is that of the payload in its frame. */
  add(payload: Buffer, mask: Buffer, place: number): void {
    for (let at = 0; at < payload.length;) {
      if (this.#used === this.#piece.length) this.#turnOver();
      const piece = this.#piece;
      const from = this.#used;
      const size = Math.min(payload.length - at, piece.length - from);
      piece.set(payload.subarray(at, at + size), from);
      unmask(piece, [from, from + size], mask, place + at);
      this.#used += size;
      this.#size += size;
      this.#missing -= size;
      at += size;
    }
  }

  finish(): void {
    this.#keep();
    if (this.#begun.length > 0) this.fault ??= NOT_UTF8;
  }

  #turnOver(): void {
    this.#keep();
    const size = Math.min(PIECE, Math.max(LEAST_PIECE, this.#missing));
    this.#piece = Buffer.allocUnsafeSlow(size);
    this.#used = 0;
  }

  #keep(): void {
    if (this.#used === 0) return;
    const piece = this.#piece.subarray(0, this.#used);
    this.pieces.push(piece);
    this.#check(piece);
  }

  #check(piece: Buffer): void {
    if (this.isBinary || this.fault !== undefined) return;
    const bytes =
      this.#begun.length === 0 ? piece : Buffer.concat([this.#begun, piece]);
    const end = lastBoundary(bytes);
    if (!isUtf8(bytes.subarray(0, end))) this.fault = NOT_UTF8;
    this.#begun = Buffer.from(bytes.subarray(end));
  }
}

/** Each byte from `from` to `to`, the first of which is at `place` in its frame. */
function unmask(
  bytes: Buffer,
  [from, to]: readonly [number, number],
  mask: Buffer,
  place: number,
): void {
  let at = from;
  const byByte = (end: number) => {
    for (; at < end; at += 1) {
      bytes[at] = (bytes[at] ?? 0) ^ (mask[(place + at - from) & 3] ?? 0);
    }
  };
  byByte(Math.min(to, (from + 3) & ~3));
  const words = new Uint32Array(bytes.buffer, 0, to >> 2); // a piece begins where its memory does
  const turned = [0, 1, 2, 3].map(
    (i) => mask[(place + at - from + i) & 3] ?? 0,
  );
  const [word = 0] = new Uint32Array(Uint8Array.from(turned).buffer);
  for (let i = at >> 2; i < words.length; i += 1) {
    words[i] = (words[i] ?? 0) ^ word;
  }
  at = Math.max(at, (to >> 2) << 2);
  byByte(to);
}

/** Where the character begins that does not end within the bytes; their length where there is none. */
function lastBoundary(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back += 1) {
    const byte = bytes[bytes.length - back] ?? 0;
    if ((byte & 0xc0) === 0x80) continue;
    const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : byte >= 0xc0 ? 2 : 1;
    return size > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** The next frame's header; `undefined` where it has not come whole. */
function headerAt(bytes: Buffer, at: number): FrameHeader | undefined {
  const [first = 0, second] = bytes.subarray(at, at + 2);
  if (second === undefined) return undefined;
  const short = second & 0x7f;
  const isMasked = (second & MASKED) !== 0;
  const size = short === 126 ? 2 : short === 127 ? 8 : 0;
  const end = at + 2 + size + (isMasked ? 4 : 0);
  if (end > bytes.length) return undefined;
  const length =
    size === 0
      ? short
      : size === 2
        ? bytes.readUInt16BE(at + 2)
        : Number(bytes.readBigUInt64BE(at + 2));
  return {
    isLast: (first & FIN) !== 0,
    kind: first & ~FIN,
    length,
    mask: isMasked ? bytes.subarray(end - 4, end) : undefined,
    end,
  };
}
