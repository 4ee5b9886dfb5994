/**
 * Decodes ZMTP frames to complete messages. The socket reads into its memory.
 *
 * The frames of a message are views of the slab; a large frame that was read in
 * pieces has its own allocation. Frames are valid until the next call of
 * `region`, which may give the same memory to the next read.
 */
import { type Frames, FRAMES_LIMIT, MESSAGE_LIMIT } from "../transport.ts";
import { BadPeer } from "./bad-peer.ts";
import { COMMAND, LONG, MORE } from "./encoder.ts";

export const SLAB_SIZE = 256 * 1024; // bytes

/** Enough for the handshake. Most connections to a starting kernel end before their first byte. */
const FIRST_SLAB_SIZE = 512; // bytes

/** An incomplete frame larger than this has its own memory; the socket reads into it without a copy. */
export const LARGE = 32 * 1024; // bytes

/**
 * With less free space than this, the unread bytes move to the beginning of the
 * slab. LARGE and a header are well below SLAB_SIZE, so a region is never empty.
 */
const LEAST_REGION = 32 * 1024; // bytes

/**
 * The last unused large allocation, for the next large frame of any connection.
 * New memory costs about as much as reading into it (1 MB: 300 µs with this
 * memory, 550 µs with new memory).
 */
let spare: Buffer | undefined;
const SPARE_LIMIT = 8 * 1024 * 1024; // bytes

/** The memory of a frame besides its bytes: a message of a million empty frames is large. */
const FRAME_COST = 128; // bytes

/** No frame has so many bytes; such a length is damaged. */
const FRAME_LENGTH_LIMIT = 2 ** 40;

export interface ZmtpCommand {
  readonly name: string;
  /** A view, valid until the next `read`. */
  readonly body: Uint8Array;
}

interface LargeFrame {
  readonly memory: Buffer;
  readonly bytes: Buffer;
  readonly flags: number;
  filled: number;
}

export class Decoder {
  readonly #limit: number;
  #slab: Buffer | undefined;
  /** The first byte that is not parsed yet, and the first free byte. */
  #start = 0;
  #end = 0;
  #large: LargeFrame | undefined;
  /** The large frame whose memory was the last region; `undefined` if the region was in the slab. */
  #target: LargeFrame | undefined;
  /** Memory of a large frame: of an incomplete message, and of a delivered message. */
  #held: Buffer | undefined;
  #handedOut: Buffer | undefined;
  /** Whether the delivered frames must stay valid; the next region is then in other memory. */
  #isKept = false;
  /** The frames of an incomplete message. */
  #parts: Uint8Array[] = [];
  /** The offset of the first of them in the slab; -1 if none is in the slab. */
  #partsAt = -1;
  #weight = 0;
  /** Whether the message is skipped up to its last frame, and the bytes of the frame still to be skipped. */
  #isSkipping = false;
  #toSkip = 0;
  readonly #onTooLarge: ((size: number) => void) | undefined;

  /** With `onTooLarge`, a message over the limit is skipped. Without it, the message ends the connection. */
  constructor(limit = MESSAGE_LIMIT, onTooLarge?: (size: number) => void) {
    this.#limit = limit;
    this.#onTooLarge = onTooLarge;
  }

  /** Keeps the last delivered frames valid. */
  keep(): void {
    this.#isKept = true;
  }

  /** The memory for the next read; never empty. Invalidates all delivered frames that are not kept. */
  region(): Uint8Array {
    if (this.#handedOut !== undefined) {
      const isFree = !this.#isKept && this.#handedOut.length <= SPARE_LIMIT;
      if (isFree) spare = this.#handedOut;
      this.#handedOut = undefined;
    }
    this.#target = this.#large;
    if (this.#large !== undefined) {
      return this.#large.bytes.subarray(this.#large.filled);
    }
    this.#slab ??= Buffer.allocUnsafe(FIRST_SLAB_SIZE);
    if (this.#isKept) {
      this.#isKept = false;
      this.#replaceSlab(this.#slab);
    } else if (this.#slab.length < SLAB_SIZE) {
      if (this.#end > 0) this.#replaceSlab(this.#slab);
    } else if (this.#start === this.#end && this.#partsAt === -1) {
      this.#start = this.#end = 0; // this memory is still in the processor's cache
    } else if (SLAB_SIZE - this.#end < LEAST_REGION) {
      this.#makeRoom(this.#slab);
    }
    return this.#slab.subarray(this.#end);
  }

  /** `size` bytes were read into the last region. */
  filled(size: number): void {
    const large = this.#large;
    if (this.#target !== undefined) {
      this.#target.filled += size;
      return;
    }
    const from = this.#end;
    this.#end += size;
    if (large === undefined || this.#slab === undefined) return;
    // A large frame began after the region was returned: its bytes are in the slab.
    const taken = this.#slab.copy(large.bytes, large.filled, from, this.#end);
    large.filled += taken;
    this.#start = from + taken;
  }

  /** Whether the unread bytes begin with a new message or command. */
  get isBetween(): boolean {
    return (
      this.#large === undefined &&
      this.#parts.length === 0 &&
      !this.#isSkipping &&
      this.#toSkip === 0
    );
  }

  /** Whether it has bytes of an incomplete message, or unread bytes. */
  get isHolding(): boolean {
    return !this.isBetween || this.#start < this.#end;
  }

  /** The unread bytes. */
  peek(): Uint8Array {
    return this.#slab?.subarray(this.#start, this.#end) ?? new Uint8Array();
  }

  skip(size: number): void {
    this.#start += size;
  }

  /**
   * Appends every complete message to the batch, up to the next command, which it
   * returns. Returns `undefined` if more bytes are needed or the batch has `most`
   * messages. Throws `BadPeer`.
   */
  read(batch: Frames[], most = Infinity): ZmtpCommand | undefined {
    if (this.#large !== undefined) {
      const { memory, bytes, filled, flags } = this.#large;
      if (filled < bytes.length) return undefined;
      this.#large = undefined;
      this.#held = memory;
      this.#add(bytes, flags, batch);
    }
    const slab = this.#slab;
    if (slab === undefined) return undefined;
    if (this.#toSkip > 0) {
      const passed = Math.min(this.#toSkip, this.#end - this.#start);
      this.#start += passed;
      this.#toSkip -= passed;
    }
    while (this.#end - this.#start >= 2 && batch.length < most) {
      const flags = slab[this.#start] ?? 0;
      if (flags > 6 || (flags & (COMMAND | MORE)) === (COMMAND | MORE)) {
        throw protocolError(`a frame with flags ${flags}`);
      }
      const isLong = (flags & LONG) !== 0;
      const bodyAt = this.#start + (isLong ? 9 : 2);
      if (bodyAt > this.#end) return undefined;
      const size = isLong
        ? slab.readUInt32BE(bodyAt - 8) * 2 ** 32 +
          slab.readUInt32BE(bodyAt - 4)
        : (slab[bodyAt - 1] ?? 0);
      const bodyEnd = bodyAt + size;
      if ((flags & COMMAND) !== 0) {
        if (size > LARGE) throw protocolError(`a command of ${size} bytes`);
        if (bodyEnd > this.#end) return undefined;
        this.#start = bodyEnd;
        return toCommand(slab.subarray(bodyAt, bodyEnd));
      }
      if (size > FRAME_LENGTH_LIMIT)
        throw protocolError(`a frame of ${size} bytes`);
      if (
        this.#isSkipping ||
        this.#weight + FRAME_COST + size > this.#limit ||
        this.#parts.length >= FRAMES_LIMIT
      ) {
        this.#skipMessage(size);
        this.#isSkipping = (flags & MORE) !== 0;
        this.#toSkip = Math.max(0, bodyEnd - this.#end);
        this.#start = Math.min(bodyEnd, this.#end);
        continue;
      }
      if (bodyEnd <= this.#end) {
        this.#start = bodyEnd;
        if (this.#partsAt === -1 && (flags & MORE) !== 0) {
          this.#partsAt = bodyAt;
        }
        this.#add(slab.subarray(bodyAt, bodyEnd), flags, batch);
      } else {
        if (size > LARGE) this.#beginLarge(slab, { flags, bodyAt, size });
        return undefined;
      }
    }
    return undefined;
  }

  #add(frame: Uint8Array, flags: number, batch: Frames[]): void {
    this.#parts.push(frame);
    if ((flags & MORE) !== 0) {
      this.#weight += FRAME_COST + frame.length;
      return;
    }
    batch.push(this.#parts);
    this.#parts = [];
    this.#partsAt = -1;
    this.#weight = 0;
    if (this.#held === undefined) return;
    this.#handedOut = this.#held;
    this.#held = undefined;
  }

  /** Drops the frames of the message so far. */
  #skipMessage(size: number): void {
    if (this.#isSkipping) return;
    const known = this.#weight + size;
    if (this.#onTooLarge === undefined) {
      throw protocolError(
        `a message of more than ${this.#limit} bytes, or ${FRAMES_LIMIT} frames`,
      );
    }
    this.#parts = [];
    this.#partsAt = -1;
    this.#weight = 0;
    this.#held = undefined;
    this.#onTooLarge(known);
  }

  #beginLarge(
    slab: Buffer,
    { flags, bodyAt, size }: { flags: number; bodyAt: number; size: number },
  ): void {
    const memory = allocate(size);
    const bytes = memory.subarray(0, size);
    const filled = slab.copy(bytes, 0, bodyAt, this.#end);
    this.#start = this.#end;
    this.#large = { memory, bytes, flags, filled };
  }

  /** Makes free space. An incomplete frame and the frames of its message are kept. */
  #makeRoom(slab: Buffer): void {
    const keep = this.#partsAt === -1 ? this.#start : this.#partsAt;
    if (this.#end - keep <= SLAB_SIZE / 2) {
      slab.copyWithin(0, keep, this.#end);
      this.#parts = this.#parts.map((part) => {
        if (part.buffer !== slab.buffer) return part;
        const at = part.byteOffset - keep; // the slab begins its memory
        return slab.subarray(at, at + part.length);
      });
      this.#start -= keep;
      this.#end -= keep;
      if (this.#partsAt !== -1) this.#partsAt = 0;
      return;
    }
    this.#replaceSlab(slab); // a long message with small frames
  }

  /** Delivered frames and parts keep the old slab; the unparsed bytes are copied to the new one. */
  #replaceSlab(slab: Buffer): void {
    this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
    this.#end = slab.copy(this.#slab, 0, this.#start, this.#end);
    this.#start = 0;
    this.#partsAt = -1;
  }
}

/** At least `size` bytes of memory, with any content. */
function allocate(size: number): Buffer {
  const memory = spare;
  if (memory !== undefined && memory.length >= size) {
    spare = undefined;
    return memory;
  }
  try {
    // Powers of two, so that frames of similar size can reuse one allocation.
    return Buffer.allocUnsafeSlow(
      size <= SPARE_LIMIT ? 2 ** Math.ceil(Math.log2(size)) : size,
    );
  } catch {
    throw new BadPeer("protocol", `No memory for a frame of ${size} bytes`);
  }
}

function toCommand(frame: Buffer): ZmtpCommand {
  const nameLength = frame[0] ?? 0;
  if (nameLength === 0 || 1 + nameLength > frame.length) {
    throw protocolError("a command without a name");
  }
  return {
    name: frame.toString("latin1", 1, 1 + nameLength),
    body: frame.subarray(1 + nameLength),
  };
}

function protocolError(what: string): BadPeer {
  return new BadPeer(
    "protocol",
    `The peer sent bytes that are not ZMTP: ${what}`,
  );
}
