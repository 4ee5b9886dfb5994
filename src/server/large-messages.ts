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
import { lastBoundary } from "../jupyter/utf8.ts";

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
export class LargeMessageSocket extends WebSocket {
  setSocket(stream: Duplex, head: Buffer, options: ServerOptions): void {
    (WebSocket.prototype as Settable).setSocket.call(
      this,
      stream,
      head,
      options,
    );
    const receiver = (this as unknown as Settable)._receiver;
    receiver.write = largeMessages({
      limit: options.maxPayload ?? Infinity,
      isOver: () => receiver.destroyed || receiver.writableEnded,
      small: receiver.write.bind(receiver) as (bytes: Buffer) => boolean,
      message: (pieces, isBinary) => this.emit("message", pieces, isBinary),
    });
  }
}

/** As `ws` makes them where hands were shaken. */
const ServerSideSocket = LargeMessageSocket as unknown as new (
  address: null,
  protocols: undefined,
  options: ServerOptions,
) => LargeMessageSocket;

/** A server's end of a WebSocket on which no hands were shaken; `head` is what came before. */
export function plainWebSocket(
  stream: Duplex,
  head: Buffer,
  options: ServerOptions,
): LargeMessageSocket {
  const socket = new ServerSideSocket(null, undefined, options);
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

/** Returns what takes the bytes as they come, and tells whether `ws` wants more for now. */
function largeMessages({
  limit,
  isOver,
  small,
  message: emitMessage,
}: Reader): (chunk: Buffer) => boolean {
  /** The beginning of a header. */
  let rest = NOTHING;
  /** Bytes that are still to come of a frame for `ws`. */
  let forwardLeft = 0;
  /** And of one that is read here. */
  let payloadLeft = 0;
  let isLastFrame = false;
  let mask = NOTHING;
  let payloadOffset = 0;
  let message: PartialMessage | undefined;

  const isReadHere = (header: FrameHeader): boolean => {
    const { isLast, kind, length } = header;
    if (header.mask === undefined) return false;
    if (kind === CONTINUATION) return message !== undefined;
    if (kind !== TEXT && kind !== BINARY) return false;
    return message !== undefined || !isLast || length >= LARGE;
  };
  const begin = (header: FrameHeader): void => {
    const { isLast, kind, length } = header;
    if (kind !== CONTINUATION && message !== undefined) {
      message.fault = WRONG_ORDER;
    } else {
      message ??= partialMessage(kind === BINARY, limit);
      message.announce(length);
    }
    isLastFrame = isLast;
    payloadLeft = length;
    mask = Buffer.from(header.mask ?? []);
    payloadOffset = 0;
  };
  /** Returns where what is read ends. */
  const fill = (bytes: Buffer, at: number): number => {
    const size = Math.min(payloadLeft, bytes.length - at);
    message?.add(bytes.subarray(at, at + size), mask, payloadOffset);
    payloadOffset += size;
    payloadLeft -= size;
    return at + size;
  };
  /** After the payload of a frame, or a part of it. Returns what ends the connection, if anything does. */
  const afterPayload = (): Buffer | undefined => {
    if (message === undefined) return undefined;
    const isWhole = isLastFrame && payloadLeft === 0;
    if (isWhole) message.finish();
    if (message.fault !== undefined) return message.fault;
    if (!isWhole) return undefined;
    const { pieces, isBinary } = message;
    message = undefined;
    if (!isOver()) emitMessage(pieces, isBinary);
    return undefined;
  };

  return (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    rest = NOTHING;
    let isReady = true;
    let from = 0; // from here on it is for `ws`
    let at = 0;
    const pass = (piece: Buffer) => {
      if (piece.length > 0 && !isOver()) isReady = small(piece) && isReady;
    };
    while (at < bytes.length) {
      if (forwardLeft > 0) {
        const size = Math.min(forwardLeft, bytes.length - at);
        forwardLeft -= size;
        at += size;
        continue;
      }
      if (payloadLeft > 0) {
        at = from = fill(bytes, at);
      } else {
        const header = headerAt(bytes, at);
        if (header === undefined) {
          rest = Buffer.from(bytes.subarray(at));
          break;
        }
        if (!isReadHere(header)) {
          forwardLeft = header.length;
          at = header.end;
          continue;
        }
        pass(bytes.subarray(from, at));
        at = from = header.end;
        begin(header);
      }
      const fault = afterPayload();
      if (fault !== undefined) {
        pass(fault);
        return isReady;
      }
    }
    pass(bytes.subarray(from, bytes.length - rest.length));
    return isReady;
  };
}

/** A message that is on its way. */
interface PartialMessage {
  readonly isBinary: boolean;
  readonly pieces: Buffer[];
  /** What ends the connection. */
  fault: Buffer | undefined;
  /** So many more bytes come. */
  announce(length: number): void;
  /** `place` is that of the payload in its frame. */
  add(payload: Buffer, mask: Buffer, payloadOffset: number): void;
  finish(): void;
}

function partialMessage(isBinary: boolean, limit: number): PartialMessage {
  /** The beginning of a character. */
  let partialCharacter: Buffer = NOTHING;
  /** Bytes that have been announced and have not come yet. */
  let missing = 0;
  let size = 0;
  let piece: Buffer = NOTHING;
  let used = 0;

  const check = (whole: Buffer): void => {
    if (isBinary || message.fault !== undefined) return;
    const bytes =
      partialCharacter.length === 0
        ? whole
        : Buffer.concat([partialCharacter, whole]);
    const end = lastBoundary(bytes);
    if (!isUtf8(bytes.subarray(0, end))) message.fault = NOT_UTF8;
    partialCharacter = Buffer.from(bytes.subarray(end));
  };
  const keep = (): void => {
    if (used === 0) return;
    const whole = piece.subarray(0, used);
    message.pieces.push(whole);
    check(whole);
  };
  const message: PartialMessage = {
    isBinary,
    pieces: [],
    fault: undefined,
    announce(length) {
      missing += length;
      if (size + missing > limit) message.fault = TOO_LARGE;
    },
    add(payload, mask, payloadOffset) {
      for (let at = 0; at < payload.length;) {
        if (used === piece.length) {
          keep();
          const room = Math.min(PIECE, Math.max(LEAST_PIECE, missing));
          piece = Buffer.allocUnsafeSlow(room);
          used = 0;
        }
        const from = used;
        const taken = Math.min(payload.length - at, piece.length - from);
        piece.set(payload.subarray(at, at + taken), from);
        unmask(piece, [from, from + taken], mask, payloadOffset + at);
        used += taken;
        size += taken;
        missing -= taken;
        at += taken;
      }
    },
    finish() {
      keep();
      if (partialCharacter.length > 0) message.fault ??= NOT_UTF8;
    },
  };
  return message;
}

/** Each byte from `from` to `to`, the first of which is at `place` in its frame. */
function unmask(
  bytes: Buffer,
  [from, to]: readonly [number, number],
  mask: Buffer,
  payloadOffset: number,
): void {
  let at = from;
  const byByte = (end: number) => {
    for (; at < end; at += 1) {
      bytes[at] =
        (bytes[at] ?? 0) ^ (mask[(payloadOffset + at - from) & 3] ?? 0);
    }
  };
  byByte(Math.min(to, (from + 3) & ~3));
  const words = new Uint32Array(bytes.buffer, 0, to >> 2); // a piece begins where its memory does
  const rotatedMask = [0, 1, 2, 3].map(
    (i) => mask[(payloadOffset + at - from + i) & 3] ?? 0,
  );
  const [word = 0] = new Uint32Array(Uint8Array.from(rotatedMask).buffer);
  for (let i = at >> 2; i < words.length; i += 1) {
    words[i] = (words[i] ?? 0) ^ word;
  }
  at = Math.max(at, (to >> 2) << 2);
  byByte(to);
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
