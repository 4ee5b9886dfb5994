/**
 * ZMTP frames to whole messages, out of memory that the socket reads into.
 *
 * The frames of a message are views: of the slab, or of an allocation of their
 * own when they are large and were read in pieces. They stay valid until the
 * next call of `region`, which may give the same memory to the next read.
 */
import { type Frames, FRAMES_LIMIT, MESSAGE_LIMIT } from "../transport.ts";
import { BadPeer } from "./bad-peer.ts";
import { COMMAND, LONG, MORE } from "./encoder.ts";

export const SLAB_SIZE = 256 * 1024; // bytes

/** Enough for the handshake: most connections to a kernel that is starting end before their first byte. */
const FIRST_SLAB_SIZE = 512; // bytes

/** An incomplete frame above this gets memory of its own, and is read into it without a copy. */
export const LARGE = 32 * 1024; // bytes

/**
 * Below this much free space the slab is turned over. A frame that is not large
 * fits then: LARGE and a header stay well below SLAB_SIZE, so no region is ever empty.
 */
const LEAST_REGION = 32 * 1024; // bytes

/**
 * The last large allocation that nobody uses, for the next large frame of any
 * connection: fresh memory costs as much as reading into it (1 MB: 300 µs
 * against 550).
 */
let spare: Buffer | undefined;
const SPARE_LIMIT = 8 * 1024 * 1024; // bytes

/** What a frame costs us beside its bytes: a million empty ones are no small message. */
const FRAME_COST = 128; // bytes

/** No frame has so many bytes: the length itself is damaged. */
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
  /** The first byte that is not parsed yet, and the first that is free. */
  #start = 0;
  #end = 0;
  #large: LargeFrame | undefined;
  /** The large frame whose memory was given out last as a region; `undefined` where it was the slab. */
  #target: LargeFrame | undefined;
  /** Memory of large frames: of a message that is not complete, and of one that was given out. */
  #held: Buffer | undefined;
  #handedOut: Buffer | undefined;
  /** Whether what was given out stays as it is: the next region is elsewhere. */
  #isKept = false;
  /** The frames so far of a message that is not complete. */
  #parts: Uint8Array[] = [];
  /** Where in the slab the first of them begins; -1 when none does. */
  #partsAt = -1;
  #weight = 0;
  /** Whether the message is passed over, to its last frame; and bytes of the frame that are yet to come. */
  #isSkipping = false;
  #toSkip = 0;
  readonly #onTooLarge: ((size: number) => void) | undefined;

  /** What is over the limit is passed over where `onTooLarge` is given; otherwise it is the peer's end. */
  constructor(limit = MESSAGE_LIMIT, onTooLarge?: (size: number) => void) {
    this.#limit = limit;
    this.#onTooLarge = onTooLarge;
  }

  /** The frames that were given out last are still needed: they live on. */
  keep(): void {
    this.#isKept = true;
  }

  /** Where the next bytes go; never empty. Ends the life of all frames given out, but for those that are kept. */
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
      this.#start = this.#end = 0; // what was just read is still in the processor's cache
    } else if (SLAB_SIZE - this.#end < LEAST_REGION) {
      this.#makeRoom(this.#slab);
    }
    return this.#slab.subarray(this.#end);
  }

  /** So many bytes are now in the region that was given last. */
  filled(size: number): void {
    const large = this.#large;
    if (this.#target !== undefined) {
      this.#target.filled += size;
      return;
    }
    const from = this.#end;
    this.#end += size;
    if (large === undefined || this.#slab === undefined) return;
    // A large frame was begun since that region was given: its bytes are in the slab.
    const taken = this.#slab.copy(large.bytes, large.filled, from, this.#end);
    large.filled += taken;
    this.#start = from + taken;
  }

  /** Whether a message, or a command, begins at what was not read. */
  get isBetween(): boolean {
    return (
      this.#large === undefined &&
      this.#parts.length === 0 &&
      !this.#isSkipping &&
      this.#toSkip === 0
    );
  }

  /** What was filled and not read. */
  peek(): Uint8Array {
    return this.#slab?.subarray(this.#start, this.#end) ?? new Uint8Array();
  }

  skip(size: number): void {
    this.#start += size;
  }

  /**
   * Appends to the batch every message that is complete, up to the next command,
   * which it returns: `undefined` when more bytes are needed, or the batch has
   * `most` messages. Throws `BadPeer`.
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

  /** Lets go of what there is of the message. */
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

  /** Makes room behind what must stay: an incomplete frame, and the frames before it. */
  #makeRoom(slab: Buffer): void {
    const keep = this.#partsAt === -1 ? this.#start : this.#partsAt;
    if (this.#end - keep <= SLAB_SIZE / 2) {
      slab.copyWithin(0, keep, this.#end);
      this.#parts = this.#parts.map((part) =>
        part.buffer === slab.buffer
          ? slab.subarray(
              part.byteOffset - slab.byteOffset - keep,
              part.byteOffset - slab.byteOffset - keep + part.length,
            )
          : part,
      );
      this.#start -= keep;
      this.#end -= keep;
      if (this.#partsAt !== -1) this.#partsAt = 0;
      return;
    }
    this.#replaceSlab(slab); // a long message of small frames
  }

  /** The frames given out and the parts keep the old one; what is not parsed moves. */
  #replaceSlab(slab: Buffer): void {
    this.#slab = Buffer.allocUnsafeSlow(SLAB_SIZE);
    this.#end = slab.copy(this.#slab, 0, this.#start, this.#end);
    this.#start = 0;
    this.#partsAt = -1;
  }
}

/** At least so much memory, of whatever content. */
function allocate(size: number): Buffer {
  const memory = spare;
  if (memory !== undefined && memory.length >= size) {
    spare = undefined;
    return memory;
  }
  try {
    // In powers of two, so that frames of about one size share one allocation.
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
  return new BadPeer("protocol", `The peer sent what is no ZMTP: ${what}`);
}
