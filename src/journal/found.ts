/**
 * The segments of a kept journal that an earlier process wrote.
 *
 * A closed segment ends with a footer, so that opening it costs one read. The
 * last segment may have none: its chunks are walked by their headers. What was
 * cut off, and a group of entries that is not complete, is removed from the file.
 */
import { type BigIntStats, statSync } from "node:fs";
import { open, readdir, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { CHUNK_HEADER, chunkHeaderIn, type Mark, NO_MARK } from "./chunk.ts";
import {
  FOOTER_TAIL,
  footerIn,
  footerLengthIn,
  type FoundBlock,
  FoundBlocks,
  type FoundJournal,
  type FoundSegment,
  SEGMENT_PREFIX,
} from "./segment.ts";

/**
 * What is read of closed files while another process still writes the newest one.
 * Files that have not changed meanwhile are not read again.
 */
export class FootersAhead {
  readonly #footers = new Map<string, { stamp: string; footer: Footer }>();

  /** Reads the footers in a directory. Changes nothing. Never rejects: what cannot be read is read later. */
  async read(directory: string): Promise<void> {
    for (const name of await segmentsIn(directory).catch(() => [])) {
      await this.#readFile(join(directory, name)).catch(() => {});
    }
  }

  /** What the footer of this file says, if it was read and has not changed. Once: it is then forgotten. */
  take(path: string): Footer | undefined {
    const read = this.#footers.get(path);
    if (read === undefined) return undefined;
    this.#footers.delete(path);
    const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
    return stats && stampOf(stats) === read.stamp ? read.footer : undefined;
  }

  async #readFile(path: string): Promise<void> {
    const file = await open(path, "r");
    try {
      const stats = await file.stat({ bigint: true });
      const footer = await readFooter(file, Number(stats.size));
      if (footer === undefined) return;
      this.#footers.set(path, { stamp: stampOf(stats), footer });
    } finally {
      await file.close();
    }
  }
}

function stampOf({ ino, size, mtimeNs }: BigIntStats): string {
  return `${ino} ${size} ${mtimeNs}`;
}

/** The names of the files, oldest first. */
async function segmentsIn(directory: string): Promise<string[]> {
  return (await readdir(directory))
    .filter((name) => name.startsWith(SEGMENT_PREFIX))
    .sort();
}

/** Rejects with a system error if the directory cannot be read or a file cannot be cut, and with a `RangeError` for another version of the format. */
export async function findSegments(
  directory: string,
  ahead?: FootersAhead,
): Promise<FoundJournal> {
  const names = await segmentsIn(directory);
  const segments: FoundSegment[] = [];
  let last = 0;
  let mark = NO_MARK;
  let removed = 0;
  let newestId: string | undefined;
  for (const name of names) {
    const path = join(directory, name);
    const isNewest = name === names.at(-1);
    const closed = isNewest ? undefined : ahead?.take(path);
    const scan: Scan = closed ?? (await scanFile(path, last, isNewest));
    removed += scan.removed ?? 0;
    const { blocks } = scan;
    if (blocks.count === 0) {
      await rm(path, { force: true });
      continue;
    }
    segments.push({ path, blocks, bytes: scan.bytes });
    last = blocks.last;
    mark = scan.mark;
    newestId = scan.journal_id;
  }
  const count = Number(names.at(-1)?.slice(SEGMENT_PREFIX.length) ?? 0);
  return { segments, last, mark, count, newestId, removed };
}

/** What a footer says. */
interface Footer {
  readonly blocks: FoundBlocks;
  readonly mark: Mark;
  /** Bytes of the chunks. */
  readonly bytes: number;
}

interface Scan extends Footer {
  /** Bytes that were cut off. A file with a footer is complete. */
  readonly removed?: number;
  /** Set for the newest file. */
  readonly journal_id?: string | undefined;
}

async function scanFile(
  path: string,
  before: number,
  isNewest: boolean,
): Promise<Scan> {
  const file = await open(path, "r+");
  try {
    const { size } = await file.stat();
    const start = isNewest ? await readAt(file, 0, START) : undefined;
    // Most of the newest files are small: one read is enough for them.
    const footer = await readFooter(file, size, start);
    const scan = footer ?? (await walked(file, size, before));
    return { ...scan, journal_id: start && chunkHeaderIn(start)?.journal_id };
  } finally {
    await file.close();
  }
}

/**
 * Walks the chunks of a file without a footer, and cuts off what is not complete.
 * All chunks of a file have the id of the first one. It may be an earlier id of
 * the journal.
 */
async function walked(
  file: FileHandle,
  size: number,
  before: number,
): Promise<Scan> {
  const blocks: FoundBlock[] = [];
  const headers = new HeaderReader(file);
  /** The blocks and bytes up to the end of the last complete group. */
  let complete = { blocks: 0, bytes: 0, mark: NO_MARK };
  let at = 0;
  let last = before;
  let journal_id: string | undefined;
  while (at < size) {
    const found = chunkHeaderIn(await headers.read(at));
    if (found === undefined) break;
    journal_id ??= found.journal_id;
    if (
      found.journal_id !== journal_id ||
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
    blocks: FoundBlocks.of(blocks.slice(0, complete.blocks)),
    mark: complete.mark,
    bytes: complete.bytes,
    removed: size - complete.bytes,
  };
}

/** Reads the headers of a file, those of small chunks many at a time: a call of the system for each would take seconds if there are many. */
class HeaderReader {
  readonly #file: FileHandle;
  readonly #window = Buffer.allocUnsafe(WINDOW);
  #from = 0;
  #to = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  /** The bytes at this offset, which are fewer at the end of the file. Valid until the next call. */
  async read(at: number): Promise<Buffer> {
    if (at < this.#from || at + CHUNK_HEADER > this.#to) {
      const { bytesRead } = await this.#file.read(this.#window, 0, WINDOW, at);
      this.#from = at;
      this.#to = at + bytesRead;
    }
    const start = at - this.#from;
    const end = Math.min(start + CHUNK_HEADER, this.#to - this.#from);
    return this.#window.subarray(start, end);
  }
}

const WINDOW = 32 * 1024; // bytes

/** What the footer says; `undefined` if there is none. `start`: the first bytes of the file, if they were read. */
async function readFooter(
  file: FileHandle,
  size: number,
  start?: Buffer,
): Promise<Footer | undefined> {
  const read = (length: number) =>
    start?.length === size
      ? Promise.resolve(Buffer.from(start.subarray(size - length))) // a copy keeps less memory
      : readAt(file, size - length, length);
  const length = footerLengthIn(await read(Math.min(FOOTER_TAIL, size)));
  if (length === undefined || length > size) return undefined;
  const found = footerIn(await read(length));
  return found && { ...found, bytes: size - length };
}

async function readAt(
  file: FileHandle,
  at: number,
  length: number,
): Promise<Buffer> {
  const buffer = Buffer.allocUnsafe(length);
  const { bytesRead } = await file.read(buffer, 0, length, at);
  return buffer.subarray(0, bytesRead);
}

/** Bytes of the first read of a newest file. */
const START = 8 * 1024;
