/**
 * The segments of a kept journal that an earlier process wrote.
 *
 * A closed segment ends with a footer, so that opening it costs one read. The
 * last segment may have none: its chunks are walked by their headers. What was
 * cut off, and a group of entries that is not complete, is removed from the file.
 */
import { open, readdir, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import { CHUNK_HEADER, chunkHeaderIn, type Mark, NO_MARK } from "./chunk.ts";

/** Where a chunk is in its file, and which entries it has. */
export interface FoundBlock {
  readonly first: number;
  readonly last: number;
  readonly offset: number;
  readonly length: number;
}

export interface FoundSegment {
  readonly path: string;
  /** In the order of their numbers. */
  readonly blocks: readonly FoundBlock[];
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
  /** Bytes that were removed from the end, because they were not complete. */
  readonly removed: number;
}

const PREFIX = "journal.";

/** The name of the file with this number; names sort as their numbers. */
export function segmentName(count: number): string {
  return `${PREFIX}${String(count).padStart(10, "0")}`;
}

/** Rejects with a system error if the directory cannot be read or a file cannot be cut, and with a `RangeError` for another version of the format. */
export async function findSegments(
  directory: string,
  journal_id: string,
): Promise<FoundJournal> {
  const names = (await readdir(directory))
    .filter((name) => name.startsWith(PREFIX))
    .sort();
  const segments: FoundSegment[] = [];
  let last = 0;
  let mark = NO_MARK;
  let removed = 0;
  for (const name of names) {
    const path = join(directory, name);
    const scan = await scanFile(path, journal_id, last);
    removed += scan.removed;
    const { blocks } = scan;
    const newest = blocks.at(-1);
    if (newest === undefined) {
      await rm(path, { force: true });
      continue;
    }
    segments.push({ path, blocks, bytes: scan.bytes });
    last = newest.last;
    mark = scan.mark;
  }
  const count = Number(names.at(-1)?.slice(PREFIX.length) ?? 0);
  return { segments, last, mark, count, removed };
}

interface Scan {
  readonly blocks: readonly FoundBlock[];
  readonly mark: Mark;
  /** Bytes of the chunks. */
  readonly bytes: number;
  readonly removed: number;
}

async function scanFile(
  path: string,
  journal_id: string,
  before: number,
): Promise<Scan> {
  const file = await open(path, "r+");
  try {
    const { size } = await file.stat();
    const closed = await readFooter(file, size);
    if (closed !== undefined) return closed;
    return await walked(file, size, { journal_id, before });
  } finally {
    await file.close();
  }
}

/** Walks the chunks of a file without a footer, and cuts off what is not complete. */
async function walked(
  file: FileHandle,
  size: number,
  { journal_id, before }: { journal_id: string; before: number },
): Promise<Scan> {
  const blocks: FoundBlock[] = [];
  const header = Buffer.alloc(CHUNK_HEADER);
  /** The blocks and bytes up to the end of the last complete group. */
  let complete = { blocks: 0, bytes: 0, mark: NO_MARK };
  let at = 0;
  let last = before;
  while (at < size) {
    const { bytesRead } = await file.read(header, 0, CHUNK_HEADER, at);
    const found = chunkHeaderIn(header.subarray(0, bytesRead));
    if (
      found?.journal_id !== journal_id ||
      found.first <= last ||
      found.count === 0 ||
      at + found.length > size
    )
      break;
    const { first, count, length, mark, continues } = found;
    last = first + count - 1;
    blocks.push({ first, last, offset: at, length });
    at += length;
    if (!continues) complete = { blocks: blocks.length, bytes: at, mark };
  }
  if (complete.bytes < size) await file.truncate(complete.bytes);
  return {
    blocks: blocks.slice(0, complete.blocks),
    mark: complete.mark,
    bytes: complete.bytes,
    removed: size - complete.bytes,
  };
}

/**
 * The footer of a closed segment: a row of 32 bytes for each chunk (first number,
 * number of records, offset, length; 8 bytes each), then 32 bytes: `KJFT`,
 * version (2 bytes), 2 bytes of zero, number of chunks (4), run (4) and event (8) of the last
 * mark, 4 bytes of zero, CRC-32 of all before (4).
 */
const FOOTER_MAGIC = Buffer.from("KJFT");
const FOOTER_VERSION = 1;
const TAIL = 32;
const ROW = 32;

export function footerOf(blocks: readonly FoundBlock[], mark: Mark): Buffer {
  const bytes = Buffer.alloc(blocks.length * ROW + TAIL);
  let at = 0;
  for (const { first, last, offset, length } of blocks) {
    for (const value of [first, last - first + 1, offset, length]) {
      at = bytes.writeBigUInt64LE(BigInt(value), at);
    }
  }
  FOOTER_MAGIC.copy(bytes, at);
  bytes.writeUInt16LE(FOOTER_VERSION, at + 4);
  bytes.writeUInt32LE(blocks.length, at + 8);
  bytes.writeUInt32LE(mark.run, at + 12);
  bytes.writeBigUInt64LE(BigInt(mark.event), at + 16);
  const sumAt = bytes.length - 4;
  bytes.writeUInt32LE(crc32(bytes.subarray(0, sumAt)), sumAt);
  return bytes;
}

/** `undefined` if the file has no footer. */
async function readFooter(
  file: FileHandle,
  size: number,
): Promise<Scan | undefined> {
  if (size < TAIL) return undefined;
  const tail = Buffer.alloc(TAIL);
  await file.read(tail, 0, TAIL, size - TAIL);
  if (!tail.subarray(0, FOOTER_MAGIC.length).equals(FOOTER_MAGIC)) {
    return undefined;
  }
  const rows = tail.readUInt32LE(8) * ROW;
  if (tail.readUInt16LE(4) !== FOOTER_VERSION || rows > size - TAIL) {
    return undefined;
  }
  const footer = Buffer.alloc(rows + TAIL);
  await file.read(footer, 0, footer.length, size - footer.length);
  const sumAt = footer.length - 4;
  if (crc32(footer.subarray(0, sumAt)) !== footer.readUInt32LE(sumAt)) {
    return undefined;
  }
  const blocks: FoundBlock[] = [];
  for (let at = 0; at < rows; at += ROW) {
    const [first = 0, count = 0, offset = 0, length = 0] = [0, 8, 16, 24].map(
      (column) => Number(footer.readBigUInt64LE(at + column)),
    );
    blocks.push({ first, last: first + count - 1, offset, length });
  }
  return {
    blocks,
    mark: {
      run: tail.readUInt32LE(12),
      event: Number(tail.readBigUInt64LE(16)),
    },
    bytes: size - footer.length,
    removed: 0,
  };
}
