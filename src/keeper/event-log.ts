/**
 * The events of a keeper's runs that the server has not acknowledged: numbered
 * from 1 for each run, the newest in memory, older ones in files, the oldest
 * forgotten past the limits. The numbers that are kept are always consecutive,
 * and end with the newest.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { lengthOf } from "../jupyter/pieces.ts";
import type { Faults } from "../log/faults.ts";
import { type Body, eventFrame } from "./events.ts";
import { FRAME_LIMIT, FrameReader, frameOf } from "./frames.ts";

/** The frame of an event, in pieces. */
export type EventFrame = readonly Buffer[];

/** Bytes of a file, unless a single event is larger. */
const SEGMENT = 4 * 1024 * 1024;
/** Bytes of one read from memory, unless a single event is larger. */
const READ_LIMIT = 256 * 1024;
/** Bytes that the objects of an event take. */
const EVENT_BYTES = 200;

export interface StoreOptions {
  /** Bytes of all runs in memory. */
  readonly memory: number;
  /** Bytes of all runs in files; 0: no files. */
  readonly disk: number;
  /** Makes the private directory for the files. */
  readonly directory: () => string;
  readonly faults: Faults;
}

/** Events `from` to `to`, in a file. */
interface Segment {
  readonly path: string;
  readonly from: number;
  readonly to: number;
  readonly bytes: number;
}

/** The limits that all runs of a keeper share. */
export class EventStore implements Disposable {
  readonly #options: StoreOptions;
  readonly #logs = new Set<EventLog>();
  /** Bytes of all runs in memory. */
  #memory = 0;
  #spilling: Promise<void> | undefined;

  constructor(options: StoreOptions) {
    this.#options = options;
  }

  /** `run`: the 16 bytes of the run's id. */
  logOf(run: Uint8Array): EventLog {
    const log = new EventLog(run, (bytes) => this.#changed(bytes));
    this.#logs.add(log);
    return log;
  }

  /** Whether every event is acknowledged. */
  get isEmpty(): boolean {
    return [...this.#logs].every(({ oldest, newest }) => oldest > newest);
  }

  /** Resolves when files have taken what is too much for the memory; `undefined` if nothing is. */
  get relieved(): Promise<void> | undefined {
    return this.#memory > this.#options.memory * 2 ? this.#spilling : undefined;
  }

  forget(log: EventLog): void {
    log.acknowledge(log.newest);
    this.#logs.delete(log);
  }

  [Symbol.dispose](): void {
    for (const log of this.#logs) this.forget(log);
  }

  #changed(bytes: number): void {
    this.#memory += bytes;
    if (this.#memory <= this.#options.memory) return;
    this.#spilling ??= this.#spill().finally(() => {
      this.#spilling = undefined;
      this.#changed(0); // events that came since its last look
    });
  }

  /** Moves events of the run with the most of them to files, until the rest fits into the memory. */
  async #spill(): Promise<void> {
    const { memory, disk, directory, faults } = this.#options;
    while (this.#memory > memory) {
      const log = largest(this.#logs, (one) => one.memory);
      if (log === undefined) return;
      if (disk === 0) {
        log.dropFromMemory();
        continue;
      }
      try {
        await log.spill(directory());
      } catch (error) {
        const { code = "unknown" } = error as NodeJS.ErrnoException;
        const why = `the file could not be written (${code})`;
        faults.count("Events of kernels were forgotten", why);
        if (!this.#dropOldest()) log.dropFromMemory();
      }
      while (sumOf(this.#logs, (one) => one.disk) > disk) {
        const why = "the server has not taken them, and their files were full";
        faults.count("Events of kernels were forgotten", why);
        if (!this.#dropOldest()) return;
      }
    }
  }

  /** Removes the oldest file of the run with the most bytes in files. */
  #dropOldest(): boolean {
    const log = largest(this.#logs, (one) => one.disk);
    return log?.dropSegment() === true;
  }
}

export class EventLog {
  readonly #run: Uint8Array;
  readonly #changed: (bytes: number) => void;
  #segments: Segment[] = [];
  /** The newest events; the first of them is at `#head`. */
  #events: EventFrame[] = [];
  #head = 0;
  #newest = 0;
  #memory = 0;

  /** `changed` is called with the bytes that the memory has gained or lost. Only the store makes logs. */
  constructor(run: Uint8Array, changed: (bytes: number) => void) {
    this.#run = run;
    this.#changed = changed;
  }

  /** The number of the newest event; 0 before the first. */
  get newest(): number {
    return this.#newest;
  }
  /** The number of the oldest event that is kept; one past the newest if none is. */
  get oldest(): number {
    return this.#segments[0]?.from ?? this.#inMemory;
  }
  /** Bytes in memory. */
  get memory(): number {
    return this.#memory;
  }
  /** Bytes in files. */
  get disk(): number {
    return sumOf(this.#segments, ({ bytes }) => bytes);
  }

  /** Returns the event's number. Bytes that something else uses are copied. */
  add(body: Body): number {
    this.#newest += 1;
    const frame = eventFrame(this.#run, this.#newest, body);
    this.#events.push(frame);
    this.#count(sizeOf(frame));
    return this.#newest;
  }

  /** Drops all events up to this number. */
  acknowledge(number: number): void {
    while ((this.#segments[0]?.to ?? Infinity) <= number) this.dropSegment();
    if (this.#segments.length === 0) this.#dropUpTo(number);
  }

  /**
   * Some frames that follow event `after`, in order; none if they were forgotten
   * meanwhile, so that the caller looks for a gap again.
   */
  read(after: number): readonly EventFrame[] | Promise<readonly EventFrame[]> {
    const number = after + 1;
    const segment = this.#segments.find(({ to }) => to >= number);
    if (segment !== undefined) return this.#load(segment, number);
    const start = this.#head + number - this.#inMemory;
    let end = start;
    for (
      let size = 0;
      size < READ_LIMIT && end < this.#events.length;
      end += 1
    ) {
      size += lengthOf(this.#events[end] ?? []);
    }
    return this.#events.slice(start, end);
  }

  /** Moves the oldest events in memory to a file. Rejects with the system's error. */
  async spill(directory: string): Promise<void> {
    const from = this.#inMemory;
    const pieces: Buffer[] = [];
    let to = from - 1;
    let bytes = 0;
    for (
      let at = this.#head;
      bytes < SEGMENT && at < this.#events.length;
      at += 1
    ) {
      const frame = this.#events[at] ?? [];
      pieces.push(...frame);
      bytes += lengthOf(frame);
      to += 1;
    }
    const path = join(directory, `events-${randomBytes(8).toString("hex")}`);
    try {
      await written(path, pieces);
    } catch (error) {
      rmSync(path, { force: true });
      throw error;
    }
    if (this.#inMemory > to) {
      rmSync(path, { force: true }); // they were acknowledged meanwhile
      return;
    }
    this.#segments.push({ path, from, to, bytes });
    this.#dropUpTo(to);
  }

  /** Forgets the oldest file. */
  dropSegment(): boolean {
    const segment = this.#segments.shift();
    if (segment !== undefined) rmSync(segment.path, { force: true });
    return segment !== undefined;
  }

  /** Forgets the older half of the events in memory, and all that are older. */
  dropFromMemory(): void {
    while (this.dropSegment());
    this.#dropUpTo(this.#inMemory + ((this.#events.length - this.#head) >> 1));
  }

  async #load(segment: Segment, from: number): Promise<readonly EventFrame[]> {
    const frames: EventFrame[] = [];
    try {
      const reader = new FrameReader(FRAME_LIMIT, { hasMagic: true });
      for (const { kind, body } of reader.read(await readFile(segment.path))) {
        frames.push(frameOf(kind, body));
      }
    } catch {
      // The file was removed meanwhile, or is damaged.
    }
    if (frames.length === segment.to - segment.from + 1) {
      return frames.slice(from - segment.from);
    }
    while ((this.#segments[0]?.to ?? Infinity) <= segment.to) {
      this.dropSegment(); // with what is older, so that the numbers stay consecutive
    }
    return [];
  }

  /** The number of the oldest event in memory; one past the newest if there is none. */
  get #inMemory(): number {
    return this.#newest - (this.#events.length - this.#head) + 1;
  }

  #count(bytes: number): void {
    this.#memory += bytes;
    this.#changed(bytes);
  }

  #dropUpTo(number: number): void {
    while (this.#inMemory <= number && this.#head < this.#events.length) {
      const frame = this.#events[this.#head] ?? [];
      this.#events[this.#head] = [];
      this.#head += 1;
      this.#count(-sizeOf(frame));
    }
    if (this.#head < 1_000 && this.#head < this.#events.length) return;
    this.#events.splice(0, this.#head);
    this.#head = 0;
  }
}

async function written(path: string, pieces: readonly Buffer[]): Promise<void> {
  const file = await open(path, "wx", 0o600);
  try {
    for (let at = 0; at < pieces.length; at += WRITE_PIECES) {
      const some = pieces.slice(at, at + WRITE_PIECES);
      const { bytesWritten } = await file.writev(some);
      if (bytesWritten < lengthOf(some)) throw new Error("a short write");
    }
  } finally {
    await file.close();
  }
}

/** As many as the system takes at once. */
const WRITE_PIECES = 1_000;

function sizeOf(frame: EventFrame): number {
  return lengthOf(frame) + EVENT_BYTES;
}

function sumOf<T>(all: Iterable<T>, size: (one: T) => number): number {
  let sum = 0;
  for (const one of all) sum += size(one);
  return sum;
}

function largest<T>(all: Iterable<T>, size: (one: T) => number): T | undefined {
  let found: T | undefined;
  for (const one of all) {
    if (size(one) > (found === undefined ? 0 : size(found))) found = one;
  }
  return found;
}
