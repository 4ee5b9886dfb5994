/**
 * The ordered record of everything a session has said.
 *
 * One writer appends; any number of readers follow, each from a place of its
 * own and at its own pace. Numbers are dense, start at 1 and never repeat. A
 * slow reader never slows the writer: the newest entries are in memory, older
 * ones on disk, the oldest go, and a reader that had not seen them is told
 * which. Only a reader that is behind what memory holds waits for the disk.
 */
import { randomBytes } from "node:crypto";
import type { OwnEvent } from "../../contract/index.ts";
import type { Message } from "../jupyter/message.ts";
import { type Burst, BURST_ROW, recordLength } from "../jupyter/record.ts";
import { framedLength } from "../jupyter/websocket-frame.ts";
import { within } from "../time/within.ts";
import type { Log } from "../log/log.ts";
import type { Block, OpenFile } from "./blocks.ts";
import type { DiskBudget } from "./disk-budget.ts";
import type { Entries } from "./entries.ts";
import { Entry } from "./entry.ts";
import type { Evictable, MemoryHolder, MemoryBudget } from "./memory-budget.ts";
import { type Cursor, Cursors } from "./cursors.ts";
import { Recent } from "./recent.ts";
import { eventText } from "./slab.ts";
import { BATCH, Spill } from "./spill.ts";

/** What a reader gets at once: entries in order, or the news that some are gone. */
export type Reading =
  | { readonly gap: { readonly from: number; readonly to: number } }
  | { readonly entries: Entries };

export interface JournalOptions {
  /** Bytes in memory. The newest slab is kept, however large its entry; and an entry larger than half of this until it is on disk. */
  readonly memory: number;
  /** Bytes on disk; 0 for none. */
  readonly disk: number;
  /** The memory that is shared with other journals. */
  readonly budget: MemoryBudget;
  /** The disk that is; with 0 bytes, none. */
  readonly diskBudget: DiskBudget;
  /** Resolves when it is a reader's turn among those of all journals; at once where absent. */
  readonly turn?: (() => Promise<void>) | undefined;
  /** Makes the private directory for what goes to disk, and says where. */
  readonly directory: () => string;
  readonly log: Log;
  /** Told of what a reader missed. */
  readonly gap?: ((from: number, to: number) => void) | undefined;
  /** The disk; the file system's unless given. */
  readonly open?: OpenFile | undefined;
}

/** What a burst is in the journal. */
export interface BurstRange {
  /** The numbers of the first and of the last. */
  readonly first: number;
  readonly last: number;
  /** Bytes that they take. */
  readonly size: number;
}

export interface FollowOptions {
  /** Up to which number the reader has heard everything; what it has requested to go on from, unless it says so itself. */
  readonly acknowledged?: Cursor | undefined;
  /** Whether it looks for a part only, and so has not heard what it reads. */
  readonly isPartial?: boolean | undefined;
}

/** Most bytes that a reader is handed at once, unless a single entry is larger. */
const READ_LIMIT = 256 * 1024;
/**
 * A kernel is listened to no further while more than this part of the memory is
 * unwritten, so that a disk which is merely slower does not cost what a kernel
 * says in a burst.
 */
const BACKPRESSURE_PART = 3 / 4;
/**
 * But not for longer than this, until it is down to a half again, and only where
 * entries are large on average: a kernel keeps a thousand messages for us, and
 * drops the rest without a word, where we would name a gap.
 */
const BACKPRESSURE_TIMEOUT_MS = 1_000;
const BACKPRESSURE_ENTRY_SIZE = 16 * 1024; // bytes
/** How often it is said, while it lasts, that entries are lost. */
const WARNING_INTERVAL_MS = 60_000;

export class Journal implements MemoryHolder, AsyncDisposable {
  /** Numbers mean something in this one only: a session that is made anew counts anew. */
  readonly id = randomBytes(8).toString("hex");
  readonly #options: JournalOptions;
  readonly #recent: Recent;
  readonly #spill: Spill | undefined;
  #last = 0;
  /** Up to this number everything that was kept has been handed to the spill. */
  #submitted = 0;
  /** Up to this number it is to be handed over. */
  #writeGoal = 0;
  #unwritten = 0;
  /** Bytes in memory, as far as the budget was told. */
  #counted = 0;
  #writing: Promise<void> | undefined;
  /** What is being written of it. */
  #batch: Promise<boolean> = Promise.resolve(true);
  #lost = 0;
  #warnedAt = -Infinity;
  readonly #wakers = new Set<() => void>();
  readonly #cursors = new Cursors();
  /** An entry larger than half of the memory, until it is on disk or the disk did not take it. */
  #oversized: { readonly seq: number; readonly size: number } | undefined;
  /** Since when the disk has been too slow. */
  #backpressureSince: number | undefined;
  #leftAt = -Infinity;
  #isEnded = false;
  #allLeft: () => void = () => {};
  #isClosed = false;

  constructor(options: JournalOptions) {
    this.#options = options;
    this.#recent = new Recent(options.memory);
    const { directory, disk: limit, diskBudget: budget, log, open } = options;
    if (Math.min(limit, budget.limit) > 0) {
      const { id } = this;
      const acknowledged = () => this.#cursors.acknowledged;
      const shared = { directory, limit, budget, log, open };
      this.#spill = new Spill({ id, acknowledged, ...shared });
    }
    options.budget.join(this);
  }

  /** The newest number; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** The oldest number that can be read; one past the newest when none can. */
  get first(): number {
    return Math.min(this.#spill?.first ?? Infinity, this.#recent.first);
  }

  /** Bytes kept in memory, beside the one batch that is perhaps being written. */
  get bytes(): number {
    return this.#recent.bytes;
  }

  /** Bytes kept on disk. */
  get diskBytes(): number {
    return this.#spill?.bytes ?? 0;
  }

  /** How many entries were forgotten that were on no disk. */
  get lost(): number {
    return this.#lost;
  }

  get unwritten(): number {
    return this.#unwritten;
  }

  /** Bytes beyond its share that it may hold until they are on disk. */
  get exempt(): number {
    const isTaken = this.#spill?.isReady === true;
    return isTaken ? (this.#oversized?.size ?? 0) : 0;
  }

  /** How many follow it just now. */
  get readers(): number {
    return this.#cursors.count;
  }

  /** When one of them last left, by the monotonic clock. */
  get leftAt(): number {
    return this.#leftAt;
  }

  /** kernel → journal. Copies what it keeps. The entry is valid for this turn of the event loop. */
  append(message: Message): Entry {
    const { record } = message;
    const added =
      record === undefined
        ? this.#recent.add(recordLength(message), (slab) =>
            slab.append(message),
          )
        : this.#recent.addRecord(message, record);
    this.#added(added);
    return new Entry(added.slab, added.from);
  }

  /** The same, of many. */
  appendBurst(burst: Burst): BurstRange {
    const first = this.#last + 1;
    let size = 0;
    for (let done = 0; done < burst.count;) {
      const length = burst.rows[done * BURST_ROW + 1] as number;
      const added = this.#recent.add(length, (slab) => {
        done += slab.appendBurst(burst, done);
      });
      size += added.size;
      this.#added(added);
    }
    return { first, last: this.#last, size };
  }

  /** supervisor → journal */
  appendEvent(event: OwnEvent): Entry {
    const json = eventText(event, this.#last + 1);
    const added = this.#recent.add(framedLength(json.length), (slab) =>
      slab.appendEvent(event.kind, json),
    );
    this.#added(added);
    return new Entry(added.slab, added.from);
  }

  /**
   * What comes after number `after`, up to a handful; `undefined` when that is
   * nothing yet. A promise only where the disk has to be requested. A number that
   * was never given out counts as the newest. What is read is valid for this
   * turn of the event loop, unless its slab is pinned.
   */
  read(after: number): Reading | Promise<Reading> | undefined {
    if (after >= this.#last) return undefined;
    const next = Math.max(after + 1, 1);
    const { first } = this.#recent;
    if (next >= first) {
      return { entries: this.#recent.from(next).upTo(READ_LIMIT) };
    }
    const block = this.#spill?.find(next);
    if (block !== undefined && block.first <= next) {
      return this.#readBlock(block, next);
    }
    const to = Math.min(block?.first ?? first, first) - 1;
    return { gap: { from: next, to } };
  }

  /**
   * Everything after number `after`, oldest first, then what is being said,
   * until the journal ends or `signal` aborts. What is read is valid until the
   * next is requested for.
   */
  async *follow(
    after: number,
    signal: AbortSignal,
    { acknowledged, isPartial = false }: FollowOptions = {},
  ): AsyncGenerator<Reading, void> {
    let seen = Math.max(0, Math.min(after, this.#last));
    let requested = seen;
    const leave = this.#cursors.add(
      acknowledged ?? (() => requested),
      isPartial,
    );
    const isOver = () => signal.aborted; // as a call, because it may become true during an `await`
    try {
      while (!isOver()) {
        requested = seen;
        if (seen === this.#last) {
          if (this.#isEnded) return;
          await this.#more(signal);
          continue;
        }
        await this.#options.turn?.();
        const found = isOver() ? undefined : this.read(seen);
        if (found === undefined) continue;
        const reading = found instanceof Promise ? await found : found;
        if ("gap" in reading) {
          const { from, to } = reading.gap;
          seen = to;
          this.#options.gap?.(from, to);
          yield reading;
          continue;
        }
        const { slab, last } = reading.entries;
        seen = last;
        slab.pin();
        try {
          yield reading;
        } finally {
          slab.unpin();
        }
      }
    } finally {
      leave();
      this.#leftAt = performance.now();
      if (this.#isEnded && this.readers === 0) this.#allLeft();
    }
  }

  /** Nothing more will be said: readers end when they have read the rest. Resolves when all have, or after `timeout_ms`. */
  async end(timeout_ms: number): Promise<void> {
    this.#isEnded = true;
    const left = new Promise<void>((resolve) => (this.#allLeft = resolve));
    for (const wake of this.#wakers) wake();
    if (this.readers > 0) await within(left, timeout_ms);
  }

  /** Resolves when the disk has written some of what the kernel said in a burst; `undefined` while it keeps pace, or cannot. */
  backpressure(): Promise<unknown> | undefined {
    const { memory } = this.#options;
    if (this.#unwritten <= memory / 2) this.#backpressureSince = undefined;
    if (this.#unwritten <= memory * BACKPRESSURE_PART) return undefined;
    if (this.#writing === undefined || this.#spill?.isReady !== true) return;
    if (
      this.#unwritten <
      BACKPRESSURE_ENTRY_SIZE * (this.#last - this.#submitted)
    )
      return;
    this.#backpressureSince ??= performance.now();
    // What is larger than the memory takes the disk as much longer.
    const share = Math.max(1, this.#unwritten / memory);
    const timeout_ms = BACKPRESSURE_TIMEOUT_MS * share;
    const left_ms = this.#backpressureSince + timeout_ms - performance.now();
    if (left_ms <= 0) return undefined;
    return within(this.#batch, left_ms);
  }

  /** For the shared budget. */
  writeDown(): Promise<void> {
    this.#writeGoal = this.#last;
    if (this.#writing === undefined && this.#spill?.isReady === true) {
      this.#writing = this.#write(this.#spill).finally(() => {
        this.#writing = undefined;
      });
    }
    return this.#writing ?? Promise.resolve();
  }

  /** For the shared budget. */
  evict(bytes: number, what: Evictable): void {
    const enough = this.#recent.bytes - bytes;
    const least = what === "written" ? 0 : 1;
    const upTo = this.#evictableUpTo(what);
    while (this.#recent.bytes > enough && this.#recent.count > least) {
      const { oldest } = this.#recent;
      if (oldest === undefined || oldest.last > upTo) return;
      const waiting = this.#oversized?.seq ?? 0;
      const isWaiting = waiting >= oldest.first && waiting <= oldest.last;
      if (isWaiting && this.exempt > 0) return;
      this.#evictOldest();
    }
  }

  #evictableUpTo(what: Evictable): number {
    if (what === "any") return this.#last;
    return what === "written" ? this.#submitted : this.#cursors.acknowledged;
  }

  /** Nothing of it can be read any more, and nothing is left on disk. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#options.budget.leave(this);
    await this.#writing;
    await this.#spill?.[Symbol.asyncDispose]();
  }

  async #readBlock(block: Block, from: number): Promise<Reading> {
    try {
      const entries = await this.#spill?.read(block);
      if (entries !== undefined) return { entries: entries.since(from) };
      return { gap: { from, to: block.last } };
    } catch (error) {
      const isRemoved =
        (this.#spill?.find(block.first)?.last ?? 0) !== block.last;
      if (!isRemoved) {
        this.#options.log.error({ err: error }, "The journal cannot be read");
      }
      return { gap: { from, to: block.last } };
    }
  }

  /** Resolves when there is more to read, or when `signal` aborts. */
  #more(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#wakers.delete(wake);
        signal.removeEventListener("abort", wake);
        resolve();
      };
      this.#wakers.add(wake);
      signal.addEventListener("abort", wake);
    });
  }

  #added({ last: seq, length, size }: Entries): void {
    this.#last = seq;
    this.#count(this.#recent.bytes - this.#counted, size);
    const { memory, budget } = this.#options;
    const isOversized = length === 1 && size > memory / 2;
    if (isOversized && size >= this.#waitingSize) {
      this.#oversized = { seq, size };
    }
    // Half of the memory is what the disk may lag behind; the other half is what readers find there.
    if (this.#unwritten > memory / 2) void this.writeDown(); // it never rejects
    this.#trim();
    if (!this.#isClosed) budget.enforceLimit();
    for (const wake of this.#wakers) wake();
  }

  /** Of an oversized entry that is not on its way to the disk yet. */
  get #waitingSize(): number {
    const waiting = this.#oversized;
    return waiting === undefined || waiting.seq <= this.#submitted
      ? 0
      : waiting.size;
  }

  #trim(): void {
    const limit = this.#options.memory + this.exempt;
    while (this.bytes > limit && this.#recent.count > 1) this.#evictOldest();
  }

  /** The oldest slab in memory goes: it is on disk, on its way there, or lost. */
  #evictOldest(): void {
    const slab = this.#recent.shift();
    if (slab === undefined) return;
    const { first, last } = slab;
    const waiting = this.#oversized?.seq ?? 0;
    if (waiting >= first && waiting <= last) this.#oversized = undefined;
    const lost = last - Math.max(this.#submitted, first - 1);
    const unwritten = lost > 0 ? slab.sizeOf(slab.count - lost, slab.count) : 0;
    if (lost > 0) this.#submitted = last;
    this.#count(this.#recent.bytes - this.#counted, -unwritten);
    if (lost > 0) this.#countLost(lost);
    slab.drop();
  }

  /** memory → disk, a batch at a time, in order. Never rejects. */
  async #write(spill: Spill): Promise<void> {
    while (
      this.#submitted < this.#writeGoal &&
      spill.isReady &&
      !this.#isClosed
    ) {
      const batch = this.#nextBatch();
      for (const { slab } of batch) slab.pin();
      this.#batch = spill.write(batch);
      const isWritten = await this.#batch;
      if (!isWritten) this.#restore(batch);
      for (const { slab } of batch) slab.unpin();
      if ((this.#oversized?.seq ?? Infinity) <= this.#submitted) {
        this.#oversized = undefined;
        this.#trim();
      }
    }
  }

  /** What is written next: as much as is written at once, and one slab's rest at least. */
  #nextBatch(): Entries[] {
    const most = Math.min(BATCH, this.#options.memory / 8);
    const batch: Entries[] = [];
    let size = 0;
    while (this.#submitted < this.#last && (size === 0 || size < most)) {
      const entries = this.#recent.from(this.#submitted + 1);
      batch.push(entries);
      size += entries.size;
      this.#submitted = entries.last;
    }
    this.#count(0, -size);
    return batch;
  }

  /** What the disk did not take: some of it may still be in memory, the rest is lost. */
  #restore(batch: readonly Entries[]): void {
    const { first } = this.#recent;
    for (const { last, length, size } of batch.toReversed()) {
      if (last < first) this.#countLost(length);
      else {
        this.#submitted -= length;
        this.#count(0, size);
      }
    }
  }

  #countLost(count: number): void {
    this.#lost += count;
    const now = performance.now();
    if (this.#lost === 0 || now - this.#warnedAt < WARNING_INTERVAL_MS) return;
    this.#warnedAt = now;
    this.#options.log.warn(
      `${this.#lost} entries of the journal are forgotten that were on no disk`,
    );
  }

  /** Of what it holds, and of what is unwritten, there is so much more, or less. */
  #count(bytes: number, unwritten: number): void {
    this.#counted += bytes;
    this.#unwritten += unwritten;
    if (!this.#isClosed) this.#options.budget.count(bytes, unwritten);
  }
}
