/**
 * The ordered record of all messages and events of a session.
 *
 * One writer appends. Any number of readers follow, each from its own position
 * and at its own pace. Numbers are dense, start at 1 and never repeat. A slow
 * reader never slows the writer: the newest entries are in memory, older ones
 * on disk, and the oldest are removed. A reader that missed entries receives a
 * gap with their numbers. Only a reader of entries that are not in memory waits
 * for the disk.
 *
 * A kept journal outlives the process. It writes entries in the turn of the event
 * loop after the one that appended them, and readers get an entry only when it is
 * written: so no reader knows a number that a restart can give to another entry.
 */
import { randomBytes } from "node:crypto";
import type { OwnEvent } from "../../contract/index.ts";
import type { Message } from "../jupyter/message.ts";
import { type Burst, BURST_ROW, recordLength } from "../jupyter/record.ts";
import { framedLength } from "../jupyter/websocket-frame.ts";
import { within } from "../time/within.ts";
import type { Log } from "../log/log.ts";
import type { Block, OpenFile } from "./blocks.ts";
import { type Mark, NO_MARK } from "./chunk.ts";
import type { DiskBudget } from "./disk-budget.ts";
import type { Entries } from "./entries.ts";
import { Entry } from "./entry.ts";
import type { Evictable, MemoryHolder, MemoryBudget } from "./memory-budget.ts";
import { type Cursor, Cursors } from "./cursors.ts";
import type { FoundJournal } from "./segment.ts";
import { Recent } from "./recent.ts";
import { eventText } from "./slab.ts";
import { BATCH, Spill } from "./spill.ts";

/** The result of one read: entries in order, or the numbers of entries that do not exist any more. */
export type Reading =
  | { readonly gap: { readonly from: number; readonly to: number } }
  | { readonly entries: Entries };

export interface JournalOptions {
  /** Bytes in memory; up to three times as many wait for a slow disk if `budget` has room. The newest slab is always kept, and an entry larger than half of this is kept until it is on disk. */
  readonly memory: number;
  /** Bytes on disk; 0: the journal does not use the disk. */
  readonly disk: number;
  /** The memory budget that all journals share. */
  readonly budget: MemoryBudget;
  /** The disk budget that all journals share; 0 bytes: no journal uses the disk. */
  readonly diskBudget: DiskBudget;
  /** Schedules the readers of all journals fairly: resolves when a reader may read. Default: at once. */
  readonly schedule?: (() => Promise<void>) | undefined;
  /** Creates the private directory for the files and returns its path. */
  readonly directory: () => string;
  readonly log: Log;
  /** Called with the numbers that a reader missed. */
  readonly gap?: ((from: number, to: number) => void) | undefined;
  /** Default: opens files of the file system. */
  readonly open?: OpenFile | undefined;
  /** Default: the journal ends with the process. */
  readonly kept?: KeptOptions | undefined;
}

/** What a journal needs to outlive the process. */
export interface KeptOptions {
  /** The id that it had in earlier processes, or a new one. */
  readonly id: string;
  readonly found: FoundJournal;
  /** Appends the entries of the earlier journal that follow on `found`. Default: there are none. */
  readonly earlier?: ((journal: Journal) => void) | undefined;
  /** Everything up to `mark` is written. */
  readonly written: (mark: Mark) => void;
  /** Called when the disk does not take the entries any more, and when it does again. */
  readonly durable: (isDurable: boolean) => void;
}

/** 16 hexadecimal digits. */
export function newJournalId(): string {
  return randomBytes(8).toString("hex");
}

/** The entries of a burst in the journal. */
export interface BurstRange {
  /** The numbers of the first and the last entry. */
  readonly first: number;
  readonly last: number;
  /** Bytes that the entries take. */
  readonly size: number;
}

export interface FollowOptions {
  /** Returns the number up to which the reader has acknowledged all entries. Default: the number after which it last requested entries. */
  readonly acknowledged?: Cursor | undefined;
  /** Whether the reader needs only a part of the journal. */
  readonly isPartial?: boolean | undefined;
}

/** The most bytes of one read, unless a single entry is larger. */
const READ_LIMIT = 256 * 1024;
/**
 * While more than this part of the memory is unwritten, the server does not read
 * from the kernel. So a burst of output is not lost only because the disk is
 * slower than the kernel.
 */
const BACKPRESSURE_PART = 3 / 4;
/**
 * The longest time without reading; it starts again when less than half of the
 * memory is unwritten. The server stops reading only if the entries are large on
 * average: a kernel queues a thousand messages and silently drops further ones,
 * while the journal reports a gap.
 */
const BACKPRESSURE_TIMEOUT_MS = 1_000;
const BACKPRESSURE_ENTRY_SIZE = 16 * 1024; // bytes
/** Entries that wait for a slow disk may take the journal's memory so many times, while the journals of the server leave room for it. */
const WAITING_FACTOR = 3;
/** The shortest time between two warnings about lost entries. */
const WARNING_INTERVAL_MS = 60_000;

export class Journal implements MemoryHolder, AsyncDisposable {
  /** Numbers are valid only together with this id: the journal of a new session starts at 1 again. */
  readonly id: string;
  readonly #options: JournalOptions;
  readonly #recent: Recent;
  readonly #spill: Spill | undefined;
  #last = 0;
  /** Readers get entries up to this number. */
  #visible = 0;
  #mark: Mark = NO_MARK;
  /** Whether entries can be written. */
  #isDurable = true;
  #isFlushing = false;
  /** All kept entries up to this number were given to the spill. */
  #submitted = 0;
  /** Entries up to this number are to be given to the spill. */
  #writeGoal = 0;
  #unwritten = 0;
  #writtenBytes = 0;
  /** Bytes in memory that the budget has counted. */
  #counted = 0;
  #writing: Promise<void> | undefined;
  /** The batch that is being written. */
  #batch: Promise<boolean> = Promise.resolve(true);
  #lost = 0;
  #warnedAt = -Infinity;
  readonly #wakers = new Set<() => void>();
  readonly #cursors = new Cursors();
  /** An entry larger than half of the memory, until it is on disk or its write has failed. */
  #oversized: { readonly seq: number; readonly size: number } | undefined;
  /** When the disk became too slow. */
  #backpressureSince: number | undefined;
  #leftAt = -Infinity;
  #isEnded = false;
  #allLeft: () => void = () => {};
  #isClosed = false;

  constructor(options: JournalOptions) {
    this.#options = options;
    const { directory, disk: limit, diskBudget: budget, log, open } = options;
    const kept = options.kept?.found;
    const last = kept?.last ?? 0;
    this.id = options.kept?.id ?? newJournalId();
    this.#recent = new Recent(options.memory, last + 1);
    this.#last = last;
    this.#visible = last;
    this.#submitted = last;
    this.#mark = kept?.mark ?? NO_MARK;
    if (Math.min(limit, budget.limit) > 0) {
      const { id } = this;
      const acknowledged = () => this.#cursors.acknowledged;
      const shared = { directory, limit, budget, log, open, kept };
      this.#spill = new Spill({ id, acknowledged, ...shared });
    } else this.#isDurable = false;
    options.budget.join(this);
    options.kept?.earlier?.(this);
  }

  /** The newest number that readers can get; 0 before the first. */
  get last(): number {
    return this.#visible;
  }

  /** The number of the next entry. */
  get next(): number {
    return this.#last + 1;
  }

  /** How far the events of the kernel runs are in the journal. Set it when everything that an event caused is appended. */
  get mark(): Mark {
    return this.#mark;
  }
  set mark(mark: Mark) {
    this.#mark = mark;
    if (!this.#isDurable) this.#options.kept?.written(mark);
  }

  /** The oldest number that can be read; one past the newest if none can. */
  get first(): number {
    return Math.min(this.#spill?.first ?? Infinity, this.#recent.first);
  }

  /** Bytes kept in memory, without the batch that is being written. */
  get bytes(): number {
    return this.#recent.bytes;
  }

  /** Bytes kept on disk. */
  get diskBytes(): number {
    return this.#spill?.bytes ?? 0;
  }

  /** The number of entries that were evicted from memory and were not on disk. */
  get lost(): number {
    return this.#lost;
  }

  /** Bytes of all entries that this process has written to disk. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Whether the disk takes the entries. */
  get isDurable(): boolean {
    return this.#isDurable;
  }

  get unwritten(): number {
    return this.#unwritten;
  }

  /** Bytes that the journal may hold beyond its limit until they are on disk. */
  get exempt(): number {
    const isTaken = this.#spill?.isReady === true;
    return isTaken ? (this.#oversized?.size ?? 0) : 0;
  }

  /** Bytes beyond its own limit: they wait for the disk in memory that no other journal needs. */
  get overdraft(): number {
    return Math.max(0, this.bytes - this.#options.memory - this.exempt);
  }

  /** The number of current readers. */
  get readers(): number {
    return this.#cursors.count;
  }

  /** When a reader last left, by the monotonic clock. */
  get leftAt(): number {
    return this.#leftAt;
  }

  /** kernel → journal. Copies the message. The returned entry is valid in this turn of the event loop. */
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

  /** The same for many messages. */
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
   * The entries after number `after`, up to `READ_LIMIT`; `undefined` if there is
   * none yet. Returns a promise only if the entries are on disk. A number larger
   * than the newest counts as the newest. The entries are valid in this turn of
   * the event loop, unless their slab is pinned.
   */
  read(after: number): Reading | Promise<Reading> | undefined {
    if (after >= this.#visible) return undefined;
    const next = Math.max(after + 1, 1);
    const { first } = this.#recent;
    if (next >= first) {
      const entries = this.#recent.from(next).until(this.#visible);
      return { entries: entries.upTo(READ_LIMIT) };
    }
    const block = this.#spill?.find(next);
    if (block !== undefined && block.first <= next) {
      return this.#readBlock(block, next);
    }
    const to = Math.min(block?.first ?? first, first) - 1;
    return { gap: { from: next, to } };
  }

  /**
   * All entries after number `after`, oldest first, then new ones, until the
   * journal ends or `signal` aborts. A reading is valid until the next one is
   * requested.
   */
  async *follow(
    after: number,
    signal: AbortSignal,
    { acknowledged, isPartial = false }: FollowOptions = {},
  ): AsyncGenerator<Reading, void> {
    let seen = Math.max(0, Math.min(after, this.#visible));
    let requested = seen;
    const leave = this.#cursors.add(
      acknowledged ?? (() => requested),
      isPartial,
    );
    const isOver = () => signal.aborted; // as a call, because it may become true during an `await`
    try {
      while (!isOver()) {
        requested = seen;
        if (seen === this.#visible) {
          if (this.#isEnded && seen === this.#last) return;
          await this.#more(signal);
          continue;
        }
        await this.#options.schedule?.();
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

  /** No entry is appended after this call. Readers end when they have read the rest. Resolves when all have ended, or after `timeout_ms`. */
  async end(timeout_ms: number): Promise<void> {
    this.#isEnded = true;
    const left = new Promise<void>((resolve) => (this.#allLeft = resolve));
    for (const wake of this.#wakers) wake();
    if (this.readers > 0) await within(left, timeout_ms);
  }

  /** Resolves when readers can get everything that was appended until now: of a kept journal, when it is written. */
  async flushed(): Promise<void> {
    const target = this.#last;
    while (this.#visible < target && !this.#isClosed) await this.#more();
  }

  /** Resolves when the disk has written a batch; `undefined` if the disk keeps pace or cannot be written. */
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
    // The timeout grows with the unwritten bytes if they exceed the memory.
    const share = Math.max(1, this.#unwritten / memory);
    const timeout_ms = BACKPRESSURE_TIMEOUT_MS * share;
    const left_ms = this.#backpressureSince + timeout_ms - performance.now();
    if (left_ms <= 0) return undefined;
    return within(this.#batch, left_ms);
  }

  /** The memory budget calls it. */
  writeDown(): Promise<void> {
    if (this.#options.kept === undefined) return this.#writeAll();
    this.#flushSoon(); // not now: the caller may be within a group
    return this.#writing ?? Promise.resolve();
  }

  #writeAll(): Promise<void> {
    this.#writeGoal = this.#last;
    if (this.#writing === undefined && this.#spill?.isReady === true) {
      this.#writing = this.#write(this.#spill).finally(() => {
        this.#writing = undefined;
      });
    }
    return this.#writing ?? Promise.resolve();
  }

  /** The memory budget calls it. */
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

  /** Removes the files. The journal cannot be read afterwards. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (await this.#close()) await this.#spill?.[Symbol.asyncDispose]();
  }

  /** Writes what is left, and closes the files, which stay for the next process. The journal cannot be read afterwards. */
  async letGo(): Promise<void> {
    await this.#writeAll();
    if (await this.#close()) await this.#spill?.letGo();
  }

  /** False if it was closed before. */
  async #close(): Promise<boolean> {
    if (this.#isClosed) return false;
    this.#isClosed = true;
    this.#options.budget.leave(this);
    await this.#writing;
    return true;
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
        this.#options.log.error(
          { err: error },
          "A block of the journal cannot be read from disk",
        );
      }
      return { gap: { from, to: block.last } };
    }
  }

  /** Resolves when there is more to read, or when `signal` aborts. */
  #more(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        this.#wakers.delete(wake);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      this.#wakers.add(wake);
      signal?.addEventListener("abort", wake);
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
    if (this.#options.kept !== undefined) this.#flushSoon();
    // Half of the memory may be unwritten; the other half is for readers.
    else if (this.#unwritten > memory / 2) void this.writeDown(); // it never rejects
    this.#trim();
    if (!this.#isClosed) budget.enforceLimit();
    if (this.#options.kept === undefined || !this.#isDurable) {
      this.#show(this.#last);
    }
  }

  /** Entries up to number `seq` are for readers. */
  #show(seq: number): void {
    this.#visible = seq;
    for (const wake of this.#wakers) wake();
  }

  /** The entries of one turn of the event loop are written together. */
  #flushSoon(): void {
    if (this.#isFlushing || this.#writing !== undefined) return;
    this.#isFlushing = true;
    setImmediate(() => {
      this.#isFlushing = false;
      if (!this.#isClosed) void this.#writeAll(); // it never rejects
    });
  }

  /** A write of a kept journal has ended. */
  #flushed(isWritten: boolean, last: number, mark: Mark): void {
    const { kept } = this.#options;
    if (kept === undefined) return;
    if (isWritten !== this.#isDurable) {
      this.#isDurable = isWritten;
      kept.durable(isWritten);
    }
    const isBehind = isWritten && this.#last > last;
    if (isBehind) this.#writeGoal = this.#last;
    this.#show(isWritten ? last : this.#last);
    kept.written(isWritten ? mark : this.#mark);
  }

  /** Bytes of the oversized entry if it was not given to the spill yet; else 0. */
  get #waitingSize(): number {
    const waiting = this.#oversized;
    return waiting === undefined || waiting.seq <= this.#submitted
      ? 0
      : waiting.size;
  }

  #trim(): void {
    while (this.overdraft > 0 && this.#recent.count > 1 && !this.#mayWait) {
      this.#evictOldest();
    }
  }

  /** Whether the oldest entries in memory wait for the disk, and may do so beyond the limit. */
  get #mayWait(): boolean {
    const { memory, budget } = this.#options;
    const isUnwritten = (this.#recent.oldest?.last ?? 0) > this.#submitted;
    return (
      isUnwritten &&
      this.#spill?.isReady === true &&
      budget.isSpacious &&
      this.overdraft <= memory * (WAITING_FACTOR - 1)
    );
  }

  /** Evicts the oldest slab from memory. Its entries are on disk, are being written, or are lost. */
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

  /** memory → disk, one batch at a time, in order. Never rejects. */
  async #write(spill: Spill): Promise<void> {
    while (
      this.#submitted < this.#writeGoal &&
      spill.isReady &&
      !this.#isClosed
    ) {
      const batch = this.#nextBatch();
      const mark = this.#mark;
      for (const { slab } of batch) slab.pin();
      this.#batch = spill.write(batch, mark);
      const isWritten = await this.#batch;
      if (isWritten) this.#writtenBytes += sizeOf(batch);
      else this.#restore(batch);
      for (const { slab } of batch) slab.unpin();
      this.#flushed(isWritten, batch.at(-1)?.last ?? this.#last, mark);
      if ((this.#oversized?.seq ?? Infinity) <= this.#submitted) {
        this.#oversized = undefined;
      }
      this.#trim();
    }
  }

  /** The entries of the next write: up to the size of a batch, and at least the rest of one slab; of a kept journal all, so that no write ends within a group. */
  #nextBatch(): Entries[] {
    const { kept, memory } = this.#options;
    const most = kept === undefined ? Math.min(BATCH, memory / 8) : Infinity;
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

  /** A batch could not be written: entries that are still in memory are unwritten again, the others are lost. */
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
      `${this.#lost} entries of the journal were dropped before they were on disk`,
    );
  }

  /** Reports a change of the bytes held and of the unwritten bytes to the budget. */
  #count(bytes: number, unwritten: number): void {
    this.#counted += bytes;
    this.#unwritten += unwritten;
    if (!this.#isClosed) this.#options.budget.count(bytes, unwritten);
  }
}

function sizeOf(batch: readonly Entries[]): number {
  return batch.reduce((sum, { size }) => sum + size, 0);
}
