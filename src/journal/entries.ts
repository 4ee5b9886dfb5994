/** Consecutive entries of one slab. Valid as long as the slab is: see `Slab.pin`. */
import { Entry } from "./entry.ts";
import type { Slab } from "./slab.ts";

export class Entries implements Iterable<Entry> {
  readonly slab: Slab;
  /** Rows of the slab: the first, and the row after the last. */
  readonly from: number;
  readonly to: number;

  constructor(slab: Slab, from: number, to: number) {
    this.slab = slab;
    this.from = from;
    this.to = to;
  }

  /** An entry that belongs to no journal. */
  static of({ slab, row }: Entry): Entries {
    return new Entries(slab, row, row + 1);
  }

  *[Symbol.iterator](): Generator<Entry> {
    for (let row = this.from; row < this.to; row += 1) {
      yield new Entry(this.slab, row);
    }
  }

  get length(): number {
    return this.to - this.from;
  }

  /** The numbers of the first and the last entry. */
  get first(): number {
    return this.slab.first + this.from;
  }

  get last(): number {
    return this.slab.first + this.to - 1;
  }

  /** Bytes that the entries take in the journal. */
  get size(): number {
    return this.slab.sizeOf(this.from, this.to);
  }

  /** The entries from number `seq` on. */
  since(seq: number): Entries {
    const from = Math.max(this.from, seq - this.slab.first);
    return new Entries(this.slab, Math.min(from, this.to), this.to);
  }

  /** The entries up to number `seq`. */
  until(seq: number): Entries {
    if (seq >= this.last) return this;
    return new Entries(this.slab, this.from, seq - this.slab.first + 1);
  }

  /** The first entries that fit into `bytes`; at least one entry. */
  upTo(bytes: number): Entries {
    if (this.size <= bytes) return this;
    let low = this.from + 1;
    let high = this.to;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.slab.sizeOf(this.from, middle) <= bytes) low = middle;
      else high = middle - 1;
    }
    return new Entries(this.slab, this.from, low);
  }

  /** The runs of consecutive entries for which `fits` holds. */
  *runs(fits: (row: number, slab: Slab) => boolean): Generator<Entries> {
    const { slab } = this;
    for (let from = this.from; from < this.to; from += 1) {
      if (!fits(from, slab)) continue;
      let to = from + 1;
      while (to < this.to && fits(to, slab)) to += 1;
      yield new Entries(slab, from, to);
      from = to;
    }
  }
}
