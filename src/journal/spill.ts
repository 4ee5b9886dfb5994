/**
 * The part of a journal that is on disk.
 *
 * One writer writes blocks of entries, one after the other, into private files.
 * A file is a segment; to remove the oldest entries, a file is removed. Entries
 * that are being written can be read from memory. If the disk fails, or is full
 * after the journals have removed what they can, `write` resolves with false,
 * and the next write waits for `RETRY_MS`. Blocks are in the order of their
 * numbers. There is a hole between two blocks if entries were evicted from
 * memory before they could be written.
 *
 * The files of a kept journal outlive the process: `found.ts` finds them again.
 */
import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log/log.ts";
import {
  type Block,
  type EncodedBlock,
  encodeBlock,
  type File,
  type OpenFile,
  BlockReader,
  writeAll,
} from "./blocks.ts";
import { type Mark, NO_MARK } from "./chunk.ts";
import type { DiskBudget, DiskHolder } from "./disk-budget.ts";
import { Entries } from "./entries.ts";
import {
  type FoundBlocks,
  type FoundJournal,
  type FoundSegment,
  footerOf,
  segmentName,
} from "./segment.ts";

/**
 * The bytes of one write. The event loop completes one write in a turn, and up
 * to 2 MiB arrive from one socket in a turn: smaller writes would fall behind.
 */
export const BATCH = 8 * 1024 * 1024;
/** A segment is closed at this size, so that little is removed at once if the disk is smaller than the limits; */
const SEGMENT_SIZE = 4 * 1024 * 1024;
/** or at a `SEGMENTS`th of the journal's bytes on disk if that is more. At most a `SEGMENTS`th of the journal's limit and a `SHARED_SEGMENTS`th of the shared limit. */
const SEGMENTS = 16;
const SHARED_SEGMENTS = 64;
/** The journals free at most this many times the bytes to be written. If the disk is still full, other programs fill it. */
const ROOM_FACTOR = 2;
/** The wait after a failed write. */
const RETRY_MS = 10_000;
/** The shortest time between two warnings about removed entries. */
const WARNING_INTERVAL_MS = 60_000;

export interface SpillOptions {
  /** The id of the journal. */
  readonly id: string;
  /** Creates the private directory if it does not exist, and returns its path. */
  readonly directory: () => string;
  /** Bytes. The newest segment is always kept. */
  readonly limit: number;
  /** The disk budget that all journals share. */
  readonly budget: DiskBudget;
  readonly log: Log;
  /** Returns the number up to which all current readers have acknowledged the entries. */
  readonly acknowledged: () => number;
  /** The part that an earlier process wrote; set if the files outlive the process. */
  readonly kept?: FoundJournal | undefined;
  /** Default: opens files of the file system. */
  readonly open?: OpenFile | undefined;
}

interface Written extends Block {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
  /** The entries in memory, until they are on disk. */
  entries: Entries | undefined;
  /** The read that is under way: several readers share it. */
  reading: Promise<Entries> | undefined;
}

class Segment {
  readonly path: string;
  bytes: number;
  /** `undefined` once the segment is closed. */
  handle: File | undefined;
  /** The closing of the file, once it has begun; never rejects. */
  closing: Promise<void> | undefined;
  /** The last write; never rejects. */
  writing: Promise<void> | undefined;
  readonly #blocks: Written[] = [];
  /** What an earlier process has written, until it is needed. */
  #found: FoundBlocks | undefined;

  constructor(path: string, bytes: number, found?: FoundBlocks) {
    this.path = path;
    this.bytes = bytes;
    this.#found = found;
  }

  /** In the order of their numbers. */
  get blocks(): Written[] {
    const found = this.#found;
    this.#found = undefined;
    for (const { first, last, offset, length } of found ?? []) {
      this.#blocks.push({
        segment: this,
        first,
        last,
        offset,
        length,
        entries: undefined,
        reading: undefined,
      });
    }
    return this.#blocks;
  }

  /** The number of the oldest entry. A segment without blocks has none. */
  get first(): number | undefined {
    return this.#found?.first ?? this.#blocks[0]?.first;
  }

  /** The number of the newest entry. A segment without blocks has 0. */
  get last(): number {
    return this.#found?.last ?? this.#blocks.at(-1)?.last ?? 0;
  }
}

type OpenSegment = Segment & { handle: File };

function isOpen(segment: Segment): segment is OpenSegment {
  return segment.handle !== undefined;
}

export class Spill implements DiskHolder, AsyncDisposable {
  readonly #options: SpillOptions;
  readonly #open: OpenFile;
  readonly #reader: BlockReader;
  readonly #name: (count: number) => string;
  /** Oldest first. New blocks go to the last one. */
  #segments: Segment[] = [];
  /** The newest file of an earlier process, until it is opened again. */
  #earlier: Segment | undefined;
  /** The next segment, opened before it is needed; it resolves with `undefined` if that failed. */
  #nextSegment: Promise<OpenSegment | undefined> | undefined;
  #count = 0;
  /** The mark of the newest block. */
  #mark = NO_MARK;
  #bytes = 0;
  #retryAt = 0;
  #hasFailed = false;
  #removed = 0;
  #warnedAt = -Infinity;
  #writing: Promise<boolean> = Promise.resolve(true);
  /** Entries that are to be written and have no position in a file yet. */
  #pending: readonly Entries[] = [];
  #isClosed = false;

  constructor(options: SpillOptions) {
    this.#options = options;
    this.#open = options.open ?? open;
    this.#reader = new BlockReader(this.#open);
    const { kept } = options;
    const random = `journal-${randomBytes(8).toString("hex")}`;
    this.#name = kept ? segmentName : (count) => `${random}.${count}`;
    options.budget.join(this);
    if (kept === undefined) return;
    this.#count = kept.count;
    this.#mark = kept.mark;
    for (const found of kept.segments) this.#addFound(found);
    // All chunks of a file have one id.
    if (kept.newestId === options.id) this.#earlier = this.#segments.at(-1);
  }

  #addFound({ path, blocks, bytes }: FoundSegment): void {
    this.#segments.push(new Segment(path, bytes, blocks));
    this.#countBytes(bytes);
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.#bytes;
  }

  get acknowledgedBytes(): number {
    const acknowledged = this.#options.acknowledged();
    let bytes = 0;
    for (const segment of this.#segments) {
      if (segment.last > acknowledged) break;
      bytes += segment.bytes;
    }
    return bytes;
  }

  /** The oldest number on disk or about to be written. */
  get first(): number | undefined {
    return this.#segments[0]?.first ?? this.#pending[0]?.first;
  }

  /** False while the wait after a failed write lasts. */
  get isReady(): boolean {
    return !this.#isClosed && performance.now() >= this.#retryAt;
  }

  /** The block with number `seq`, or the next block after it. */
  find(seq: number): Block | undefined {
    return (
      this.#findWritten(seq) ?? this.#pending.find(({ last }) => last >= seq)
    );
  }

  #findWritten(seq: number): Written | undefined {
    const segment = firstWhere(this.#segments, ({ last }) => last >= seq);
    return segment && firstWhere(segment.blocks, ({ last }) => last >= seq);
  }

  /** The entries of a block that `find` returned. Rejects if the block was removed meanwhile or cannot be read. */
  read(block: Block): Entries | Promise<Entries> {
    if (block instanceof Entries) return pinnedForCaller(block);
    const written = block as Written; // `find` returns no other kind
    if (written.entries !== undefined) return pinnedForCaller(written.entries);
    written.reading ??= this.#read(written).finally(() => {
      written.reading = undefined;
    });
    return written.reading;
  }

  /** The memory of the slab is reused when all callers that waited for it have unpinned it. */
  async #read(written: Written): Promise<Entries> {
    const { segment, offset, length } = written;
    const { path, bytes: fileLength } = segment;
    const location = { path, offset, length, fileLength };
    const entries = pinnedForCaller(await this.#reader.read(location));
    entries.slab.drop();
    return entries;
  }

  /**
   * Writes consecutive entries after the earlier ones. Resolves with false if
   * the write failed; the spill does not have the entries then. Never rejects.
   * The caller makes one call at a time. `mark`: see `Mark`; the entries are one
   * group then.
   */
  write(entries: readonly Entries[], mark = NO_MARK): Promise<boolean> {
    this.#pending = entries;
    this.#writing = this.#write(entries, mark).finally(() => {
      this.#pending = [];
    });
    return this.#writing;
  }

  /** The disk budget calls it. If there is only one segment, it is removed although it is open for writing. */
  async removeOldest(why: string): Promise<void> {
    const oldest = this.#segments.shift();
    if (oldest === undefined) return;
    this.#countBytes(-oldest.bytes);
    this.#warnRemoved(oldest, why);
    await oldest.writing;
    this.#reader.closeFile();
    await closeSegment(oldest);
    await remove(oldest.path, this.#options.log);
  }

  /** Removes its files. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const segment of await this.#close()) {
      await closeSegment(segment);
      await remove(segment.path, this.#options.log);
    }
  }

  /** Closes its files, which stay for the next process. */
  async letGo(): Promise<void> {
    for (const segment of await this.#close()) await this.#finish(segment);
  }

  /** Returns the segments; none if they were closed before. */
  async #close(): Promise<readonly Segment[]> {
    if (this.#isClosed) return [];
    this.#isClosed = true;
    await this.#writing;
    this.#options.budget.leave(this);
    const segments = this.#segments;
    this.#segments = [];
    this.#reader.closeFile();
    const ahead = await this.#nextSegment;
    return ahead === undefined ? segments : [...segments, ahead];
  }

  async #write(entries: readonly Entries[], mark: Mark): Promise<boolean> {
    const { budget, limit, id: journal_id, kept } = this.#options;
    const drafts: EncodedBlock[] = [];
    for (const each of entries) {
      const continues = kept !== undefined && each !== entries.at(-1);
      const facts = { journal_id, mark, continues };
      drafts.push(await encodeBlock(each, facts));
    }
    let needed = sizeOf(drafts) * ROOM_FACTOR;
    for (;;) {
      try {
        await this.#append(drafts);
        break;
      } catch (error) {
        const freed = isFull(error) && needed > 0 ? await budget.makeRoom() : 0;
        needed -= freed;
        if (freed > 0) continue;
        this.#fail(error);
        return false;
      }
    }
    this.#mark = mark;
    if (this.#hasFailed) {
      this.#hasFailed = false;
      this.#options.log.info("The journal can be written to disk again");
    }
    while (this.#bytes > limit && this.#segments.length > 1) {
      await this.removeOldest(`it has more than ${limit} bytes on disk`);
    }
    await budget.enforceLimit();
    return true;
  }

  async #append(drafts: readonly EncodedBlock[]): Promise<void> {
    const segment = await this.#openSegment();
    const written = this.#appendTo(segment, drafts);
    segment.writing = written.catch(() => {}); // the writer receives the error
    await written;
  }

  async #appendTo(
    segment: OpenSegment,
    drafts: readonly EncodedBlock[],
  ): Promise<void> {
    const { blocks, bytes: start, handle } = segment;
    const before = blocks.length;
    let end = start;
    for (const { first, last, length, entries } of drafts) {
      const offset = end;
      const reading = undefined;
      blocks.push({ segment, first, last, offset, length, entries, reading });
      end += length;
    }
    if (end >= this.#segmentLimit)
      this.#nextSegment ??= this.#create().catch(() => undefined); // a failed attempt is repeated when the segment is needed
    const pieces = drafts.flatMap((draft) => draft.pieces);
    try {
      await writeAll(handle, pieces, start);
    } catch (error) {
      blocks.length = before;
      await handle.truncate(start).catch(() => {}); // the written part would waste space
      throw error;
    }
    for (const block of blocks.slice(before)) block.entries = undefined;
    segment.bytes = end;
    const isRemoved = !this.#segments.includes(segment);
    if (!isRemoved) this.#countBytes(end - start);
  }

  /** The segment for the next blocks. */
  async #openSegment(): Promise<OpenSegment> {
    const last = this.#segments.at(-1);
    if (last !== undefined && isOpen(last)) {
      if (last.bytes < this.#segmentLimit) return last;
      void this.#finish(last); // the next segment need not wait for it
    }
    const continued = await this.#continued();
    if (continued !== undefined) return continued;
    const ahead = await this.#nextSegment;
    this.#nextSegment = undefined;
    const segment = ahead ?? (await this.#create());
    this.#segments.push(segment);
    return segment;
  }

  /** The newest file of an earlier process, without its footer, if it is small: a file for each process would make starts slow in the end. */
  async #continued(): Promise<OpenSegment | undefined> {
    const segment = this.#earlier;
    this.#earlier = undefined;
    if (segment === undefined || segment.bytes >= this.#segmentLimit) return;
    let handle: File | undefined;
    try {
      handle = await this.#open(segment.path, "r+");
      await handle.truncate(segment.bytes);
      if (this.#segments.at(-1) === segment) {
        segment.handle = handle;
        return segment as OpenSegment;
      }
    } catch {
      // a new file takes the entries
    }
    await handle?.close().catch(() => {}); // also if the file was removed meanwhile
    return undefined;
  }

  /** Bytes at which a segment is closed. */
  get #segmentLimit(): number {
    const { limit, budget } = this.#options;
    return Math.min(
      Math.max(SEGMENT_SIZE, this.#bytes / SEGMENTS),
      limit / SEGMENTS,
      budget.limit / SHARED_SEGMENTS,
    );
  }

  async #create(): Promise<OpenSegment> {
    const name = this.#name((this.#count += 1));
    const path = join(this.#options.directory(), name);
    const handle = await this.#open(path, "wx", 0o600);
    const segment = new Segment(path, 0);
    segment.handle = handle;
    return segment as OpenSegment;
  }

  /** Closes a segment for writing. One that outlives the process gets a footer; without it, the segment can be read more slowly. */
  async #finish(segment: Segment): Promise<void> {
    const { blocks, bytes, handle } = segment;
    if (this.#options.kept !== undefined && handle && blocks.length > 0) {
      const footer = footerOf(blocks, this.#mark);
      await writeAll(handle, [footer], bytes).catch(() => {});
    }
    await closeSegment(segment);
  }

  #warnRemoved({ blocks }: Segment, why: string): void {
    for (const { first, last } of blocks) this.#removed += last - first + 1;
    const now = performance.now();
    if (now - this.#warnedAt < WARNING_INTERVAL_MS) return;
    this.#warnedAt = now;
    this.#options.log.warn(
      `The journal removes its oldest entries, ${this.#removed} so far: ${why}`,
    );
  }

  #countBytes(bytes: number): void {
    this.#bytes += bytes;
    this.#options.budget.count(bytes);
  }

  #fail(error: unknown): void {
    this.#retryAt = performance.now() + RETRY_MS;
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#options.log.error(
      { err: error },
      "The journal cannot be written to disk: entries that do not fit into memory are dropped",
    );
  }
}

/** Pins the slab for this turn of the event loop, so that the caller can pin it. */
function pinnedForCaller(entries: Entries): Entries {
  const { slab } = entries;
  slab.pin();
  setTimeout(() => slab.unpin());
  return entries;
}

function sizeOf(drafts: readonly EncodedBlock[]): number {
  return drafts.reduce((sum, { length }) => sum + length, 0);
}

/** Closes the file for writing. */
async function closeSegment(segment: Segment): Promise<void> {
  segment.closing ??= segment.handle?.close().catch(() => {}); // a reader finds a late write error as a damaged block
  segment.handle = undefined;
  await segment.closing;
}

/** The first item for which `fits` holds. It must hold for all later items too. */
function firstWhere<T>(
  items: readonly T[],
  fits: (item: T) => boolean,
): T | undefined {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const item = items[middle];
    if (item !== undefined && fits(item)) high = middle;
    else low = middle + 1;
  }
  return items[low];
}

function isFull(error: unknown): boolean {
  const { code } = error as NodeJS.ErrnoException;
  return code === "ENOSPC" || code === "EDQUOT" || code === "EFBIG";
}

async function remove(path: string, log: Log): Promise<void> {
  await rm(path, { force: true }).catch((error: unknown) =>
    log.error(
      { err: error, path },
      "A file of the journal could not be removed from disk",
    ),
  );
}
