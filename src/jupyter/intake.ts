/**
 * Takes the messages of a flood in bulk: bytes that a socket has read become
 * records of a journal in one step, without an object for each message.
 *
 * It takes only plain messages (see `assembly/intake.ts`); `FrameReader` reads
 * the others one at a time, and would make the same bytes of those taken here.
 * There is no intake if WebAssembly is not available, or if a kernel signs with
 * another digest than SHA-256.
 */
import { isUtf8 } from "node:buffer";
import { WASM } from "./intake-wasm.ts";
import type { Signer } from "./frames.ts";
import { BLOCK, hmacOf, type Pads, padsOf } from "./quick-hmac.ts";
import { type Burst, BURST_ROW, END, prefixOf, separators } from "./record.ts";
import { instantiate, type WithMemory } from "./wasm.ts";

/** In the order of the constants in `assembly/intake.ts`. */
const TYPES = [
  ...["stream", "comm_msg", "clear_output"],
  ...["display_data", "execute_result", "update_display_data"],
] as const;

/** Words of a row: see `assembly/intake.ts`. */
const HEADER = 2;
const TYPE = 6;
const SIGNED = 7;
const SIGNATURE = 8;
const NEXT = 9;
const FLAGS = 13;
const NOT_ASCII = 1;
/** Hexadecimal digits of a digest. */
const DIGITS = 64;

/** Shared by all kernels: between two reads it keeps only the last loaded bytes. */
interface Engine extends WithMemory {
  input(): number;
  inputCapacity(): number;
  output(): number;
  signed(): number;
  rows(): number;
  rowsCapacity(): number;
  parent(): number;
  parentCapacity(): number;
  padding(): number;
  piece(index: number): number;
  setPieceLength(index: number, length: number): void;
  setParentLength(length: number): void;
  cut(): number;
  take(start: number, end: number): number;
}

interface SharedEngine {
  readonly engine: Engine;
  readonly memory: Buffer;
  readonly rows: Int32Array;
  /** The intake whose bytes are in the input. */
  owner: Intake | undefined;
}

let sharedEngine: SharedEngine | undefined | "unavailable";

export class Intake {
  readonly #pads: Pads | undefined;
  readonly #shared: SharedEngine;
  readonly #onBurst: (burst: Burst) => void;
  #parent: Uint8Array = NOTHING;
  #parent_id = "";
  #isCut = false;
  /** The range of the read memory whose bytes are in the engine's input, while this intake owns it. */
  #loaded: { from: number; to: number } | undefined;

  private constructor(
    pads: Pads | undefined,
    shared: SharedEngine,
    onBurst: (burst: Burst) => void,
  ) {
    this.#pads = pads;
    this.#shared = shared;
    this.#onBurst = onBurst;
  }

  /** The intake of one kernel; `undefined` if none is possible. `onBurst` must not throw. */
  static for(
    signer: Signer,
    onBurst: (burst: Burst) => void,
  ): Intake | undefined {
    const key = signer.sha256Key;
    if (key === undefined && !signer.isOff) return undefined;
    const pads = key === undefined ? undefined : padsOf(key);
    sharedEngine ??= loadEngine() ?? "unavailable";
    return sharedEngine === "unavailable"
      ? undefined
      : new Intake(pads, sharedEngine, onBurst);
  }

  /** Takes messages with this parent header from now on. The caller passes the last one that was read, unchanged. */
  follow(parent_header: Uint8Array, parent_id: string): void {
    if (parent_header === this.#parent) return;
    this.#parent = parent_header;
    this.#parent_id = parent_id;
    this.#shared.owner = undefined;
  }

  /** The bytes in the read memory have changed. */
  refilled(): void {
    this.#loaded = undefined;
  }

  /** Whether the last `take` stopped at an incomplete message. */
  get isCut(): boolean {
    return this.#isCut;
  }

  /** Takes plain messages from the beginning of the read bytes. Returns the number of bytes taken. */
  take(read: Uint8Array): number {
    const { engine, rows } = this.#shared;
    const { start, end } = this.#load(read);
    for (let at = start; ;) {
      const count = engine.take(at, end);
      this.#isCut = engine.cut() !== 0;
      const good = this.#emitVerified(count);
      if (good < count) this.#isCut = false;
      if (good > 0) at = rows[(good - 1) * BURST_ROW + NEXT] as number;
      if (good < count || count === 0 || this.#isCut) return at - start;
    }
  }

  /** Emits the messages up to the first with a wrong signature. Returns their number. */
  #emitVerified(count: number): number {
    const { rows } = this.#shared;
    let from = 0;
    for (let index = 0; index < count; index += 1) {
      const row = index * BURST_ROW;
      const isGood = this.#verifies(row);
      if (!isGood || rows[row + TYPE] !== rows[from * BURST_ROW + TYPE]) {
        this.#emit(from, index);
        from = index;
      }
      if (!isGood) return index;
    }
    this.#emit(from, count);
    return count;
  }

  #emit(from: number, to: number): void {
    if (from === to) return;
    const { engine, memory, rows: all } = this.#shared;
    const rows = all.subarray(from * BURST_ROW, to * BURST_ROW);
    const last = rows.length - BURST_ROW;
    const start = engine.output();
    const end = (rows[last] as number) + (rows[last + 1] as number);
    this.#onBurst({
      msg_type: TYPES[rows[TYPE] as number] as string,
      parent_id: this.#parent_id,
      count: to - from,
      records: memory.subarray(start + (rows[0] as number), start + end),
      rows,
    });
  }

  /** Copies the bytes into the engine's input and returns their range there. */
  #load(read: Uint8Array): { start: number; end: number } {
    const { engine, memory } = this.#shared;
    const from = read.byteOffset;
    const loaded = this.#loaded;
    const isThere =
      this.#shared.owner === this &&
      loaded !== undefined &&
      from >= loaded.from &&
      from <= loaded.to;
    if (isThere)
      return { start: from - loaded.from, end: loaded.to - loaded.from };
    const length = Math.min(read.length, engine.inputCapacity());
    const whole = length === read.length ? read : read.subarray(0, length);
    memory.set(whole, engine.input());
    this.#loaded = { from, to: from + length };
    if (this.#shared.owner !== this) this.#claimEngine();
    return { start: 0, end: length };
  }

  /** Makes this intake the owner of the engine: copies its parent header and its key. */
  #claimEngine(): void {
    const { engine, memory } = this.#shared;
    this.#shared.owner = this;
    const isShort = this.#parent.length <= engine.parentCapacity();
    if (isShort) memory.set(this.#parent, engine.parent());
    engine.setParentLength(isShort ? this.#parent.length : 0);
    if (this.#pads !== undefined)
      memory.set(this.#pads.inner, engine.padding());
  }

  /** Whether the message of this row is signed with the kernel's key and is UTF-8. */
  #verifies(row: number): boolean {
    const { engine, memory, rows } = this.#shared;
    const signed = rows[row + SIGNED] as number;
    let length = 0;
    for (let word = HEADER; word < HEADER + 4; word += 1) {
      length += rows[row + word] as number;
    }
    const at = engine.signed() + signed;
    const end = at + BLOCK + length;
    if (this.#pads !== undefined) {
      const digest = hmacOf(memory.subarray(at, end), this.#pads.outer);
      const signature = engine.input() + (rows[row + SIGNATURE] as number);
      let difference = 0;
      for (let digit = 0; digit < DIGITS; digit += 1) {
        const given = memory[signature + digit] as number;
        difference |= digest.charCodeAt(digit) ^ given;
      }
      if (difference !== 0) return false;
    }
    const isAscii = ((rows[row + FLAGS] as number) & NOT_ASCII) === 0;
    return isAscii || isUtf8(memory.subarray(at + BLOCK, end));
  }
}

const NOTHING = new Uint8Array();

/** `undefined` if WebAssembly with SIMD, or memory for it, is not available. */
function loadEngine(): SharedEngine | undefined {
  let engine: Engine;
  try {
    engine = instantiate(WASM) as Engine;
  } catch {
    return undefined;
  }
  const { buffer } = engine.memory;
  const memory = Buffer.from(buffer);
  const pieces = [
    prefixOf("iopub"),
    separators.parent_header,
    separators.metadata,
    separators.content,
    Buffer.concat([separators.buffers, END]),
  ];
  for (const [index, piece] of pieces.entries()) {
    memory.set(piece, engine.piece(index));
    engine.setPieceLength(index, piece.length);
  }
  const length = engine.rowsCapacity() * BURST_ROW;
  const rows = new Int32Array(buffer, engine.rows(), length);
  return { engine, memory, rows, owner: undefined };
}
