/**
 * The ordered record of everything a session has said.
 *
 * One writer appends; any number of readers follow, each from a place of its
 * own and at its own pace. Numbers are dense, start at 1 and never repeat. A
 * slow reader never slows the writer: past `limit` bytes the oldest entries go,
 * and a reader that had not seen them is told which.
 */
import type { OwnEvent } from "../../contract/index.ts";
import type { Message } from "../jupyter/message.ts";
import { type Entry, EventEntry, MessageEntry } from "./entry.ts";

/** What a reader gets at once: entries in order, or the news that some are gone. */
export type Reading =
  | { readonly gap: { readonly from: number; readonly to: number } }
  | { readonly entries: readonly Entry[] };

/** Most bytes that a reader is handed at once, unless a single entry is larger. */
const HANDFUL = 1024 * 1024;

export class Journal {
  readonly #limit: number;
  #entries: (Entry | undefined)[] = [];
  /** Index in `#entries` of the oldest that is kept. */
  #oldest = 0;
  #bytes = 0;
  #last = 0;
  readonly #waiting = new Set<() => void>();
  #readers = 0;

  /** `limit` is in bytes. The newest entry is kept, however large. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** The newest number; 0 before the first. */
  get last(): number {
    return this.#last;
  }

  /** The oldest number that is kept; one past the newest when nothing is. */
  get first(): number {
    return this.#last - (this.#entries.length - this.#oldest) + 1;
  }

  /** Bytes kept in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  /** How many follow it just now. */
  get readers(): number {
    return this.#readers;
  }

  /** kernel → journal. Copies what it keeps. */
  append(message: Message): MessageEntry {
    const entry = new MessageEntry(this.#last + 1, message);
    this.#add(entry);
    return entry;
  }

  /** supervisor → journal */
  say(event: OwnEvent): EventEntry {
    const entry = new EventEntry(this.#last + 1, event);
    this.#add(entry);
    return entry;
  }

  /**
   * What comes after number `after`, up to a handful; `undefined` when that is
   * nothing yet. A number that was never given out counts as the newest.
   */
  read(after: number): Reading | undefined {
    if (after >= this.#last) return undefined;
    const first = this.first;
    if (after + 1 < first) return { gap: { from: after + 1, to: first - 1 } };
    const start = this.#oldest + (after + 1 - first);
    let end = start;
    let bytes = 0;
    while (end < this.#entries.length) {
      bytes += this.#entries[end]?.size ?? 0;
      if (bytes > HANDFUL && end > start) break;
      end += 1;
    }
    return { entries: this.#entries.slice(start, end) as Entry[] }; // those that went lie before `start`
  }

  /** Everything after number `after`, oldest first, then what is being said, until `signal` aborts. */
  async *follow(
    after: number,
    signal: AbortSignal,
  ): AsyncGenerator<Reading, void> {
    let seen = Math.min(after, this.#last);
    this.#readers += 1;
    try {
      while (!signal.aborted) {
        const reading = this.read(seen);
        if (reading === undefined) {
          await this.#more(signal);
          continue;
        }
        seen =
          "gap" in reading ? reading.gap.to : seen + reading.entries.length;
        yield reading;
      }
    } finally {
      this.#readers -= 1;
    }
  }

  /** Resolves when there is more to read, or when `signal` aborts. */
  #more(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = withResolvers();
    const wake = () => {
      this.#waiting.delete(wake);
      signal.removeEventListener("abort", wake);
      resolve();
    };
    this.#waiting.add(wake);
    signal.addEventListener("abort", wake);
    return promise;
  }

  #add(entry: Entry): void {
    this.#entries.push(entry);
    this.#last = entry.seq;
    this.#bytes += entry.size;
    while (
      this.#bytes > this.#limit &&
      this.#oldest < this.#entries.length - 1
    ) {
      this.#bytes -= this.#entries[this.#oldest]?.size ?? 0;
      this.#entries[this.#oldest] = undefined;
      this.#oldest += 1;
    }
    // Letting go in strides keeps each append cheap: an entry moves once in a while, not each time.
    if (this.#oldest > 1024 && this.#oldest > this.#entries.length / 2) {
      this.#entries = this.#entries.slice(this.#oldest);
      this.#oldest = 0;
    }
    for (const wake of this.#waiting) wake();
  }
}

function withResolvers(): { promise: Promise<void>; resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => (resolve = settle));
  return { promise, resolve };
}
