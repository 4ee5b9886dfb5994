/**
 * The part of a journal that is on disk.
 *
 * One writer, blocks of entries one after the other, in private files; a file
 * is a segment, so that forgetting the oldest is removing a file. What is being
 * written can be read all the while, from memory. A disk that fails, or that is
 * full though the journals have forgotten what they can spare, costs the block,
 * not the writer: `write` says so, and pauses before it tries again. Blocks lie
 * in the order of their numbers; between two of them there is a hole where
 * something was forgotten before it could be written.
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
import type { DiskBudget, DiskHolder } from "./disk-budget.ts";
import { Entries } from "./entries.ts";

/**
 * Bytes that are written at once. The event loop hears of one write in a turn,
 * and in a turn up to 2 MiB come from one socket: less would fall behind.
 */
export const BATCH = 8 * 1024 * 1024;
/** A segment is ended at this size, so that little is forgotten at once where a disk is smaller than the limits; */
const SEGMENT_SIZE = 4 * 1024 * 1024;
/** or, where that is more, at this part of what the journal has on disk; but at this part of its own limit, or at that of the limit which it shares. */
const SEGMENTS = 16;
const SHARED_SEGMENTS = 64;
/** A full disk that was given back so many times what is to be written, and is full still, is filled by others. */
const ROOM_FACTOR = 2;
/** How long a disk that failed is left alone. */
const RETRY_MS = 10_000;
/** How often it is said, while it lasts, that the oldest are forgotten. */
const WARNING_INTERVAL_MS = 60_000;

export interface SpillOptions {
  /** Of the journal. */
  readonly id: string;
  /** Makes the private directory, where it is not there yet, and says where. */
  readonly directory: () => string;
  /** Bytes. The newest segment is kept, however large. */
  readonly limit: number;
  /** What is shared with other journals. */
  readonly budget: DiskBudget;
  readonly log: Log;
  /** Up to which number nobody who is here needs anything. */
  readonly acknowledged: () => number;
  /** The disk; the file system's unless given. */
  readonly open?: OpenFile | undefined;
}

interface Written extends Block {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
  /** Until they are on disk. */
  entries: Entries | undefined;
  /** Readers that come together are answered by one look at the disk. */
  reading: Promise<Entries> | undefined;
}

interface Segment {
  readonly path: string;
  /** In the order of their numbers. */
  readonly blocks: Written[];
  bytes: number;
  /** Until it is ended. */
  handle: File | undefined;
  /** Once it is: while it is closed; never rejects. */
  closing: Promise<void> | undefined;
  /** While it is written to; never rejects. */
  writing: Promise<void> | undefined;
}

type OpenSegment = Segment & { handle: File };

function isOpen(segment: Segment): segment is OpenSegment {
  return segment.handle !== undefined;
}

export class Spill implements DiskHolder, AsyncDisposable {
  readonly #options: SpillOptions;
  readonly #open: OpenFile;
  readonly #reader: BlockReader;
  readonly #name = `journal-${randomBytes(8).toString("hex")}`;
  /** Oldest first; the last is the one that is written to. */
  #segments: Segment[] = [];
  /** The next one, where it is opened before it is needed; `undefined` in it when that failed. */
  #nextSegment: Promise<OpenSegment | undefined> | undefined;
  #count = 0;
  #bytes = 0;
  #retryAt = 0;
  #hasFailed = false;
  #removed = 0;
  #warnedAt = -Infinity;
  #writing: Promise<boolean> = Promise.resolve(true);
  /** What is to be written and has no place in a file yet. */
  #pending: readonly Entries[] = [];
  #isClosed = false;

  constructor(options: SpillOptions) {
    this.#options = options;
    this.#open = options.open ?? open;
    this.#reader = new BlockReader(this.#open);
    options.budget.join(this);
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.#bytes;
  }

  get acknowledgedBytes(): number {
    const acknowledged = this.#options.acknowledged();
    let bytes = 0;
    for (const segment of this.#segments) {
      if ((segment.blocks.at(-1)?.last ?? 0) > acknowledged) break;
      bytes += segment.bytes;
    }
    return bytes;
  }

  /** The oldest number that it has. */
  get first(): number | undefined {
    return this.#segments[0]?.blocks[0]?.first ?? this.#pending[0]?.first;
  }

  /** Whether it makes sense to write: not just after the disk has failed. */
  get isReady(): boolean {
    return !this.#isClosed && performance.now() >= this.#retryAt;
  }

  /** The block with number `seq`, else the next one after it. */
  find(seq: number): Block | undefined {
    return (
      this.#findWritten(seq) ?? this.#pending.find(({ last }) => last >= seq)
    );
  }

  #findWritten(seq: number): Written | undefined {
    const segment = firstWhere(
      this.#segments,
      ({ blocks }) => (blocks.at(-1)?.last ?? 0) >= seq,
    );
    return segment && firstWhere(segment.blocks, ({ last }) => last >= seq);
  }

  /** The entries of a block that `find` found. Rejects when it was forgotten meanwhile, or cannot be read. */
  read(block: Block): Entries | Promise<Entries> {
    if (block instanceof Entries) return pinnedForCaller(block);
    const written = block as Written; // `find` gives out no others
    if (written.entries !== undefined) return pinnedForCaller(written.entries);
    written.reading ??= this.#read(written).finally(() => {
      written.reading = undefined;
    });
    return written.reading;
  }

  /** Its slab is used for something else once all who waited for it have let it go. */
  async #read(written: Written): Promise<Entries> {
    const { segment, offset, length } = written;
    const location = { path: segment.path, offset, length };
    const entries = pinnedForCaller(await this.#reader.read(location));
    entries.slab.drop();
    return entries;
  }

  /**
   * Writes entries that follow each other, after those before. Resolves with
   * false, and never rejects, when the disk did not take them: they are then
   * not here. One call at a time.
   */
  write(entries: readonly Entries[]): Promise<boolean> {
    this.#pending = entries;
    this.#writing = this.#write(entries).finally(() => {
      this.#pending = [];
    });
    return this.#writing;
  }

  /** For the shared budget. The segment that is written to goes too, where it is the only one. */
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
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#writing;
    this.#options.budget.leave(this);
    const segments = this.#segments;
    this.#segments = [];
    this.#reader.closeFile();
    const ahead = await this.#nextSegment;
    if (ahead !== undefined) segments.push(ahead);
    for (const segment of segments) {
      await closeSegment(segment);
      await remove(segment.path, this.#options.log);
    }
  }

  async #write(entries: readonly Entries[]): Promise<boolean> {
    const { budget, limit, id } = this.#options;
    const drafts: EncodedBlock[] = [];
    for (const each of entries) drafts.push(await encodeBlock(each, id));
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
    if (this.#hasFailed) {
      this.#hasFailed = false;
      this.#options.log.info("The disk takes the journal again");
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
    segment.writing = written.catch(() => {}); // whoever writes hears of it
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
      this.#nextSegment ??= this.#create().catch(() => undefined); // what fails is tried again when it is needed
    const pieces = drafts.flatMap((draft) => draft.pieces);
    try {
      await writeAll(handle, pieces, start);
    } catch (error) {
      blocks.length = before;
      await handle.truncate(start).catch(() => {}); // what was written of it takes room from others
      throw error;
    }
    for (const block of blocks.slice(before)) block.entries = undefined;
    segment.bytes = end;
    const isRemoved = !this.#segments.includes(segment);
    if (!isRemoved) this.#countBytes(end - start);
  }

  /** The one to write to. */
  async #openSegment(): Promise<OpenSegment> {
    const last = this.#segments.at(-1);
    if (last !== undefined && isOpen(last)) {
      if (last.bytes < this.#segmentLimit) return last;
      void closeSegment(last); // which the next need not wait for
    }
    const ahead = await this.#nextSegment;
    this.#nextSegment = undefined;
    const segment = ahead ?? (await this.#create());
    this.#segments.push(segment);
    return segment;
  }

  /** Bytes at which a segment is ended. */
  get #segmentLimit(): number {
    const { limit, budget } = this.#options;
    return Math.min(
      Math.max(SEGMENT_SIZE, this.#bytes / SEGMENTS),
      limit / SEGMENTS,
      budget.limit / SHARED_SEGMENTS,
    );
  }

  async #create(): Promise<OpenSegment> {
    const name = `${this.#name}.${(this.#count += 1)}`;
    const path = join(this.#options.directory(), name);
    const handle = await this.#open(path, "wx", 0o600);
    const rest = { closing: undefined, writing: undefined };
    return { path, blocks: [], bytes: 0, handle, ...rest };
  }

  #warnRemoved({ blocks }: Segment, why: string): void {
    for (const { first, last } of blocks) this.#removed += last - first + 1;
    const now = performance.now();
    if (now - this.#warnedAt < WARNING_INTERVAL_MS) return;
    this.#warnedAt = now;
    this.#options.log.warn(
      `The journal forgets its oldest entries, ${this.#removed} until now: ${why}`,
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
      "The disk does not take the journal: what memory cannot hold is forgotten",
    );
  }
}

/** They stay as they are until whoever asked for them has pinned their slab. */
function pinnedForCaller(entries: Entries): Entries {
  const { slab } = entries;
  slab.pin();
  setTimeout(() => slab.unpin());
  return entries;
}

function sizeOf(drafts: readonly EncodedBlock[]): number {
  return drafts.reduce((sum, { length }) => sum + length, 0);
}

/** Nothing more is written to it. */
async function closeSegment(segment: Segment): Promise<void> {
  segment.closing ??= segment.handle?.close().catch(() => {}); // what it reports late, a reader will find
  segment.handle = undefined;
  await segment.closing;
}

/** The first item for which `fits` holds, where it holds for all that follow. */
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
    log.error({ err: error, path }, "A part of the journal stays on disk"),
  );
}
