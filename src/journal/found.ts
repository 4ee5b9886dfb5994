/**
 * The segments of a kept journal that an earlier process wrote.
 *
 * A closed segment ends with a footer, so that opening it costs one read. The
 * last segment may have none: its chunks are walked by their headers. What was
 * cut off, and a group of entries that is not complete, is removed from the file.
 */
import { open, readdir, rm, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { CHUNK_HEADER, chunkHeaderIn, type Mark, NO_MARK } from "./chunk.ts";
import {
  FOOTER_TAIL,
  footerIn,
  footerLengthIn,
  type FoundBlock,
  type FoundJournal,
  type FoundSegment,
  SEGMENT_PREFIX,
} from "./segment.ts";

/** Rejects with a system error if the directory cannot be read or a file cannot be cut, and with a `RangeError` for another version of the format. */
export async function findSegments(directory: string): Promise<FoundJournal> {
  const names = (await readdir(directory))
    .filter((name) => name.startsWith(SEGMENT_PREFIX))
    .sort();
  const segments: FoundSegment[] = [];
  let last = 0;
  let mark = NO_MARK;
  let removed = 0;
  let newestId: string | undefined;
  for (const name of names) {
    const path = join(directory, name);
    const scan = await scanFile(path, last, name === names.at(-1));
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
    newestId = scan.journal_id;
  }
  const count = Number(names.at(-1)?.slice(SEGMENT_PREFIX.length) ?? 0);
  return { segments, last, mark, count, newestId, removed };
}

/** The journal's id in the first chunk of a file. */
async function journalIdIn(file: FileHandle): Promise<string | undefined> {
  const header = Buffer.alloc(CHUNK_HEADER);
  await file.read(header, 0, CHUNK_HEADER, 0);
  return chunkHeaderIn(header)?.journal_id;
}

interface Scan {
  readonly blocks: readonly FoundBlock[];
  readonly mark: Mark;
  /** Bytes of the chunks. */
  readonly bytes: number;
  readonly removed: number;
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
    const closed = await readFooter(file, size);
    const scan = closed ?? (await walked(file, size, before));
    return isNewest ? { ...scan, journal_id: await journalIdIn(file) } : scan;
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
    blocks: blocks.slice(0, complete.blocks),
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

/** What the footer says; `undefined` if there is none. */
async function readFooter(
  file: FileHandle,
  size: number,
): Promise<Scan | undefined> {
  const tail = Buffer.alloc(Math.min(FOOTER_TAIL, size));
  await file.read(tail, 0, tail.length, size - tail.length);
  const length = footerLengthIn(tail);
  if (length === undefined || length > size) return undefined;
  const footer = Buffer.alloc(length);
  await file.read(footer, 0, length, size - length);
  const found = footerIn(footer);
  if (found === undefined) return undefined;
  return { ...found, bytes: size - length, removed: 0 };
}
