/**
 * A kept journal's file of chunks: its name, and the footer that it gets when it
 * is closed. `found.ts` finds such files again.
 */
import { crc32 } from "node:zlib";
import { type Mark, NO_MARK } from "./chunk.ts";

/** Where a chunk is in its file, and which entries it has. */
export interface FoundBlock {
  readonly first: number;
  readonly last: number;
  readonly offset: number;
  readonly length: number;
}

export interface FoundSegment {
  readonly path: string;
  readonly blocks: FoundBlocks;
  readonly bytes: number;
}

export interface FoundJournal {
  /** Oldest first; each has at least one block. */
  readonly segments: readonly FoundSegment[];
  /** The number of the newest entry; 0 if there is none. */
  readonly last: number;
  readonly mark: Mark;
  /** The number in the name of the newest file. */
  readonly count: number;
  /** The journal's id in the newest file; it may be an earlier one. */
  readonly newestId?: string | undefined;
  /** Bytes that were removed from the end, because they were not complete. */
  readonly removed: number;
}

/** What is found where no process has written a journal. */
export const NOTHING_FOUND: FoundJournal = {
  segments: [],
  last: 0,
  mark: NO_MARK,
  count: 0,
  removed: 0,
};

export const SEGMENT_PREFIX = "journal.";

/** The name of the file with this number; names sort as their numbers. */
export function segmentName(count: number): string {
  return `${SEGMENT_PREFIX}${String(count).padStart(10, "0")}`;
}

/**
 * The footer of a closed segment: a row of 32 bytes for each chunk (first number,
 * number of records, offset, length; 8 bytes each), then 32 bytes: `KJFT`,
 * version (2 bytes), 2 bytes of zero, number of chunks (4), run (4) and event (8) of the last
 * mark, 4 bytes of zero, CRC-32 of all before (4).
 */
const FOOTER_MAGIC = Buffer.from("KJFT");
const FOOTER_VERSION = 1;
/** Bytes at the end of a footer that tell its length. */
export const FOOTER_TAIL = 32;
const ROW = 32;

export function footerOf(blocks: readonly FoundBlock[], mark: Mark): Buffer {
  const bytes = Buffer.alloc(blocks.length * ROW + FOOTER_TAIL);
  const at = writeRows(blocks, bytes);
  FOOTER_MAGIC.copy(bytes, at);
  bytes.writeUInt16LE(FOOTER_VERSION, at + 4);
  bytes.writeUInt32LE(blocks.length, at + 8);
  bytes.writeUInt32LE(mark.run, at + 12);
  bytes.writeBigUInt64LE(BigInt(mark.event), at + 16);
  const sumAt = bytes.length - 4;
  bytes.writeUInt32LE(crc32(bytes.subarray(0, sumAt)), sumAt);
  return bytes;
}

/** Returns where the rows end. */
function writeRows(blocks: readonly FoundBlock[], bytes: Buffer): number {
  let at = 0;
  for (const { first, last, offset, length } of blocks) {
    for (const value of [first, last - first + 1, offset, length]) {
      at = bytes.writeBigUInt64LE(BigInt(value), at);
    }
  }
  return at;
}

/** The chunks of a file, in the order of their numbers: rows of a footer, which are decoded when they are needed. */
export class FoundBlocks implements Iterable<FoundBlock> {
  readonly rows: Buffer;

  /** `rows`: see `footerOf`. */
  constructor(rows: Buffer) {
    this.rows = rows;
  }

  static of(blocks: readonly FoundBlock[]): FoundBlocks {
    const rows = Buffer.alloc(blocks.length * ROW);
    writeRows(blocks, rows);
    return new FoundBlocks(rows);
  }

  get count(): number {
    return this.rows.length / ROW;
  }

  /** The number of the oldest entry. A file without chunks has 0. */
  get first(): number {
    return this.count === 0 ? 0 : this.#at(0).first;
  }

  /** The number of the newest entry. A file without chunks has 0. */
  get last(): number {
    return this.count === 0 ? 0 : this.#at(this.count - 1).last;
  }

  *[Symbol.iterator](): Generator<FoundBlock, void> {
    for (let index = 0; index < this.count; index += 1) yield this.#at(index);
  }

  #at(index: number): FoundBlock {
    const number = (column: number): number => {
      const at = index * ROW + column * 8;
      const high = this.rows.readUInt32LE(at + 4);
      return high * 2 ** 32 + this.rows.readUInt32LE(at);
    };
    const first = number(0);
    const last = first + number(1) - 1;
    return { first, last, offset: number(2), length: number(3) };
  }
}

/** Bytes of the whole footer that ends with these bytes; `undefined` if they are not the end of one. */
export function footerLengthIn(tail: Buffer): number | undefined {
  const at = tail.length - FOOTER_TAIL;
  if (at < 0) return undefined;
  const magic = tail.subarray(at, at + FOOTER_MAGIC.length);
  if (!magic.equals(FOOTER_MAGIC)) return undefined;
  if (tail.readUInt16LE(at + 4) !== FOOTER_VERSION) return undefined;
  return tail.readUInt32LE(at + 8) * ROW + FOOTER_TAIL;
}

/** `undefined` if the footer is damaged. */
export function footerIn(
  footer: Buffer,
): { readonly blocks: FoundBlocks; readonly mark: Mark } | undefined {
  const sumAt = footer.length - 4;
  if (crc32(footer.subarray(0, sumAt)) !== footer.readUInt32LE(sumAt)) {
    return undefined;
  }
  const tail = footer.length - FOOTER_TAIL;
  const mark = {
    run: footer.readUInt32LE(tail + 12),
    event: Number(footer.readBigUInt64LE(tail + 16)),
  };
  return { blocks: new FoundBlocks(footer.subarray(0, tail)), mark };
}
