/**
 * Reads large messages on a WebSocket while they arrive. `ws` waits for a whole
 * frame, and then copies, unmasks and checks it at once, which blocks all other
 * clients. So `ws` gets only small messages. This module unmasks and checks large
 * and fragmented messages chunk by chunk, and passes them on in pieces. If such a
 * message breaks the protocol, this module passes `ws` a frame that breaks it in
 * the same way, and `ws` ends the connection.
 */
import { isUtf8 } from "node:buffer";
import type { Duplex, Writable } from "node:stream";
import { type ServerOptions, WebSocket } from "ws";
import { lastBoundary } from "../jupyter/utf8.ts";

/** Frames of this size and larger ones are read here. */
const LARGE = 64 * 1024; // bytes
/** Bytes of one piece; the smallest size is for messages of many fragments. */
const PIECE = 1024 * 1024;
const LEAST_PIECE = 4 * 1024;

/** Frames that make `ws` end a connection. The comments name the close code that it sends. */
const WRONG_ORDER = Buffer.from([0x80, 0x80, 0, 0, 0, 0]); // 1002: a continuation without a message
const NOT_UTF8 = Buffer.from([0x81, 0x81, 0, 0, 0, 0, 0xff]); // 1007
const TOO_LARGE = Buffer.alloc(10, 0xff).fill(0x81, 0, 1); // 1009: more than 2^53 bytes

const NOTHING = Buffer.alloc(0);
const FIN = 0x80;
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const MASKED = 0x80;

/** Methods that a `ws` server calls after a handshake, and that the types of `ws` lack. */
interface Settable extends WebSocket {
  readonly _receiver: Writable;
  setSocket(stream: Duplex, head: Buffer, options: ServerOptions): void;
}

/** The server's end of a WebSocket. It emits a large message as a list of buffers. */
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

/** The constructor as a `ws` server calls it. */
const ServerSideSocket = LargeMessageSocket as unknown as new (
  address: null,
  protocols: undefined,
  options: ServerOptions,
) => LargeMessageSocket;

/** The server's end of a WebSocket without a handshake; `head` is the data that has arrived already. */
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
  /** The largest size of a message in bytes. */
  readonly limit: number;
  /** Whether the socket no longer reads. */
  readonly isOver: () => boolean;
  /** Passes frames to `ws`; returns false if `ws` is not ready for more. */
  readonly small: (bytes: Buffer) => boolean;
  readonly message: (pieces: Buffer[], isBinary: boolean) => void;
}

interface FrameHeader {
  readonly isLast: boolean;
  /** The first byte of the frame, without the FIN bit. */
  readonly kind: number;
  /** Bytes of the payload. */
  readonly length: number;
  /** `undefined` if the payload is not masked. */
  readonly mask: Buffer | undefined;
  /** The offset of the payload. */
  readonly end: number;
}

/** Returns a function that takes each received chunk, and returns whether `ws` is ready for more. */
function largeMessages({
  limit,
  isOver,
  small,
  message: emitMessage,
}: Reader): (chunk: Buffer) => boolean {
  /** The beginning of a header. */
  let rest = NOTHING;
  /** Bytes that are missing of a frame for `ws`. */
  let forwardLeft = 0;
  /** Bytes that are missing of a frame that is read here. */
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
  /** Reads payload from offset `at` on, and returns the offset of its end. */
  const fill = (bytes: Buffer, at: number): number => {
    const size = Math.min(payloadLeft, bytes.length - at);
    message?.add(bytes.subarray(at, at + size), mask, payloadOffset);
    payloadOffset += size;
    payloadLeft -= size;
    return at + size;
  };
  /** Called after a frame's payload, or a part of it. Returns a frame that ends the connection if the message is not valid. */
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
    let from = 0; // the offset of bytes that are still to be passed to `ws`
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

/** A message that has not arrived completely. */
interface PartialMessage {
  readonly isBinary: boolean;
  readonly pieces: Buffer[];
  /** A frame that ends the connection. */
  fault: Buffer | undefined;
  /** A frame header announces so many bytes. */
  announce(length: number): void;
  /** `payloadOffset`: the offset of `payload` in its frame. */
  add(payload: Buffer, mask: Buffer, payloadOffset: number): void;
  finish(): void;
}

function partialMessage(isBinary: boolean, limit: number): PartialMessage {
  /** The first bytes of a character whose last bytes are missing. */
  let partialCharacter: Buffer = NOTHING;
  /** Bytes that were announced and have not arrived. */
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

/** Unmasks the bytes from `from` to `to`. The first one is at `payloadOffset` in its frame. */
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
  const words = new Uint32Array(bytes.buffer, 0, to >> 2); // a piece begins at the start of its memory
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

/** The next frame's header; `undefined` if it has not arrived completely. */
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
