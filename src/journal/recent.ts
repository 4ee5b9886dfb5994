/**
 * The newest entries of a journal, in memory: without holes, oldest first.
 * Whoever adds also decides what goes.
 */
import type { Entry } from "./entry.ts";

export class Recent {
  #entries: (Entry | undefined)[] = [];
  /** Index in `#entries` of the oldest that is kept. */
  #oldest = 0;
  #next = 1;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#entries.length - this.#oldest;
  }

  /** The oldest number that is kept; the one that comes next when none is. */
  get first(): number {
    return this.#next - this.count;
  }

  push(entry: Entry): void {
    this.#entries.push(entry);
    this.#next = entry.seq + 1;
    this.#bytes += entry.size;
  }

  /** Lets the oldest go. */
  shift(): Entry | undefined {
    const entry = this.#entries[this.#oldest];
    if (entry === undefined) return undefined;
    this.#entries[this.#oldest] = undefined;
    this.#oldest += 1;
    this.#bytes -= entry.size;
    // Moving in strides keeps this cheap: an entry moves once in a while, not each time.
    if (this.#oldest > 1024 && this.#oldest > this.#entries.length / 2) {
      this.#entries = this.#entries.slice(this.#oldest);
      this.#oldest = 0;
    }
    return entry;
  }

  /** From number `from` on, which is kept: as many as `bytes` hold, and one at least. */
  from(from: number, bytes: number): Entry[] {
    const start = this.#oldest + (from - this.first);
    let end = start;
    let size = 0;
    while (end < this.#entries.length) {
      size += this.#entries[end]?.size ?? 0;
      if (size > bytes && end > start) break;
      end += 1;
    }
    return this.#entries.slice(start, end) as Entry[]; // those that went lie before `start`
  }
}
