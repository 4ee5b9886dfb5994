/**
 * The part of a journal that is on disk.
 *
 * One writer, blocks of entries one after the other, in private files; a file
 * is a segment, so that forgetting the oldest is removing a file. What is being
 * written can be read all the while, from memory. A disk that is full or fails
 * costs the block, not the writer: `write` says so, and pauses before it tries
 * again. Blocks lie in the order of their numbers; between two of them there is
 * a hole where something was forgotten before it could be written.
 */
import { randomBytes } from "node:crypto";
import { open, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Log } from "../log.ts";
import {
  type Block,
  type Draft,
  draftsOf,
  type File,
  type OpenFile,
  readBlock,
  writeAll,
} from "./blocks.ts";
import type { Entry } from "./entry.ts";

/**
 * Bytes that are written at once. The event loop hears of one write in a turn,
 * and in a turn up to 2 MiB come from one socket: less would fall behind.
 */
export const BATCH = 4 * 1024 * 1024;
/** The largest segment is this part of the limit. */
const SEGMENTS = 16;
/** How long a disk that failed is left alone. */
const PAUSE_MS = 10_000;

export interface SpillOptions {
  /** Makes the private directory, where it is not there yet, and says where. */
  readonly directory: () => string;
  /** Bytes. The newest segment is kept, however large. */
  readonly limit: number;
  readonly log: Log;
  /** The disk; the file system's unless given. */
  readonly open?: OpenFile | undefined;
}

interface Written extends Block {
  readonly segment: Segment;
  readonly offset: number;
  readonly length: number;
  /** Until they are on disk. */
  entries: readonly Entry[] | undefined;
  /** Readers that come together are answered by one look at the disk. */
  reading: Promise<readonly Entry[]> | undefined;
}

interface Segment {
  readonly path: string;
  /** In the order of their numbers. */
  readonly blocks: Written[];
  bytes: number;
}

export class Spill implements AsyncDisposable {
  readonly #options: SpillOptions;
  readonly #open: OpenFile;
  readonly #name = `journal-${randomBytes(8).toString("hex")}`;
  /** Oldest first; the last is the one that is written to. */
  #segments: Segment[] = [];
  #handle: File | undefined;
  #count = 0;
  #bytes = 0;
  #pausedUntil = 0;
  #hasFailed = false;
  #hasForgotten = false;
  #writing: Promise<boolean> = Promise.resolve(true);
  #isClosed = false;

  constructor(options: SpillOptions) {
    this.#options = options;
    this.#open = options.open ?? open;
  }

  /** Bytes on disk. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The oldest number that it has. */
  get first(): number | undefined {
    return this.#segments[0]?.blocks[0]?.first;
  }

  /** Whether it makes sense to write: not just after the disk has failed. */
  get isReady(): boolean {
    return !this.#isClosed && performance.now() >= this.#pausedUntil;
  }

  /** The block with number `seq`, else the next one after it. */
  find(seq: number): Block | undefined {
    const segment = firstWhere(
      this.#segments,
      ({ blocks }) => (blocks.at(-1)?.last ?? 0) >= seq,
    );
    return segment && firstWhere(segment.blocks, ({ last }) => last >= seq);
  }

  /** The entries of a block that `find` found. Rejects when it was forgotten meanwhile, or cannot be read. */
  read(block: Block): readonly Entry[] | Promise<readonly Entry[]> {
    const written = block as Written; // `find` gives out no others
    if (written.entries !== undefined) return written.entries;
    written.reading ??= readBlock(
      { ...written, path: written.segment.path },
      this.#open,
    ).finally(() => {
      written.reading = undefined;
    });
    return written.reading;
  }

  /**
   * Writes entries that follow each other, after those before. Resolves with
   * false, and never rejects, when the disk did not take them: they are then
   * not here. One call at a time.
   */
  write(entries: readonly Entry[]): Promise<boolean> {
    this.#writing = this.#write(entries);
    return this.#writing;
  }

  /** Removes its files. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#writing;
    await this.#endSegment();
    const segments = this.#segments;
    this.#segments = [];
    for (const { path } of segments) await remove(path, this.#options.log);
  }

  async #write(entries: readonly Entry[]): Promise<boolean> {
    const drafts = draftsOf(entries);
    for (;;) {
      try {
        await this.#append(drafts);
        break;
      } catch (error) {
        if (isFull(error) && this.#segments.length > 1) {
          await this.#forgetOldest();
          continue;
        }
        this.#fail(error);
        return false;
      }
    }
    if (this.#hasFailed) {
      this.#hasFailed = false;
      this.#options.log.info("The disk takes the journal again");
    }
    while (this.#bytes > this.#options.limit && this.#segments.length > 1) {
      await this.#forgetOldest();
    }
    return true;
  }

  async #append(drafts: readonly Draft[]): Promise<void> {
    const { handle, segment } = await this.#openSegment();
    const { blocks, bytes: start } = segment;
    const before = blocks.length;
    let end = start;
    for (const { first, last, length, entries } of drafts) {
      const offset = end;
      const reading = undefined;
      blocks.push({ segment, first, last, offset, length, entries, reading });
      end += length;
    }
    const pieces = drafts.flatMap((draft) => draft.pieces);
    try {
      if (end - start <= 2 * BATCH) {
        await writeAll(handle, Buffer.concat(pieces, end - start), start);
      } else {
        let at = start;
        for (const piece of pieces) {
          await writeAll(handle, piece, at);
          at += piece.length;
        }
      }
    } catch (error) {
      blocks.length = before;
      throw error;
    }
    for (const block of blocks.slice(before)) block.entries = undefined;
    segment.bytes = end;
    this.#bytes += end - start;
  }

  async #openSegment(): Promise<{ handle: File; segment: Segment }> {
    const last = this.#segments.at(-1);
    const isFull =
      last !== undefined && last.bytes >= this.#options.limit / SEGMENTS;
    if (last !== undefined && this.#handle !== undefined && !isFull) {
      return { handle: this.#handle, segment: last };
    }
    await this.#endSegment();
    const name = `${this.#name}.${(this.#count += 1)}`;
    const path = join(this.#options.directory(), name);
    this.#handle = await this.#open(path, "wx", 0o600);
    const segment = { path, blocks: [], bytes: 0 };
    this.#segments.push(segment);
    return { handle: this.#handle, segment };
  }

  async #endSegment(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    await handle?.close().catch(() => {}); // what it reports late, a reader will find
  }

  async #forgetOldest(): Promise<void> {
    const oldest = this.#segments.shift();
    if (oldest === undefined) return;
    this.#bytes -= oldest.bytes;
    const { log, limit } = this.#options;
    if (!this.#hasForgotten) {
      this.#hasForgotten = true;
      const why =
        this.#bytes + oldest.bytes > limit
          ? `${limit} bytes are on disk`
          : "the disk is full";
      log.warn(`The journal begins to forget its oldest entries: ${why}`);
    }
    await remove(oldest.path, log);
  }

  #fail(error: unknown): void {
    this.#pausedUntil = performance.now() + PAUSE_MS;
    if (this.#hasFailed) return;
    this.#hasFailed = true;
    this.#options.log.error(
      { err: error },
      "The disk does not take the journal: what memory cannot hold is forgotten",
    );
  }
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
