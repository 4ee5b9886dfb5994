/**
 * The newest entries of a journal, in memory: consecutive slabs, oldest first.
 * The journal that adds entries also decides when slabs are evicted.
 */
import type { Message } from "../jupyter/message.ts";
import { Entries } from "./entries.ts";
import { Slab } from "./slab.ts";

/** Capacity of a slab. A short journal has small slabs, so that many sessions need little memory. */
const FIRST_SLAB = 4 * 1024; // bytes
const LARGEST_SLAB = 256 * 1024;
/** A slab takes at most this part of the memory, because whole slabs are evicted. */
const SLABS = 16;

export class Recent {
  /** The most bytes of one slab, unless a single record is larger. */
  readonly #capacity: number;
  #slabs: Slab[] = [];
  #next = 1;
  #bytes = 0;

  /** `memory` is in bytes; `next` is the number of the first entry. */
  constructor(memory: number, next = 1) {
    this.#next = next;
    this.#capacity = Math.min(LARGEST_SLAB, Math.floor(memory / SLABS));
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The number of slabs. */
  get count(): number {
    return this.#slabs.length;
  }

  /** The oldest number that is kept; the next number if none is kept. */
  get first(): number {
    return this.#slabs[0]?.first ?? this.#next;
  }

  get oldest(): Slab | undefined {
    return this.#slabs[0];
  }

  /** Adds a record of `length` bytes, which `write` writes into the slab. */
  add(length: number, write: (slab: Slab) => void): Entries {
    const slab = this.#slabFor(length);
    const before = slab.size;
    const { count } = slab;
    write(slab);
    this.#bytes += slab.size - before;
    this.#next = slab.last + 1;
    return new Entries(slab, count, slab.count);
  }

  /** Adds a message whose record exists already. */
  addRecord(message: Message, record: Buffer): Entries {
    const slab = Slab.around(message, record, this.#next);
    this.#slabs.push(slab);
    this.#bytes += slab.size;
    this.#next = slab.last + 1;
    return new Entries(slab, 0, slab.count);
  }

  #slabFor(length: number): Slab {
    const last = this.#slabs.at(-1);
    if (last?.hasRoom(length) === true) return last;
    const capacity = Math.max(length, this.#nextCapacity());
    const rows = Math.min(2 * (last?.count ?? 1), capacity >>> 9);
    const slab = new Slab(this.#next, capacity, rows);
    this.#slabs.push(slab);
    return slab;
  }

  /** Removes the oldest slab and returns it. */
  shift(): Slab | undefined {
    const slab = this.#slabs.shift();
    if (slab !== undefined) this.#bytes -= slab.size;
    return slab;
  }

  /** The entries from number `seq`, which must be kept, to the end of its slab. */
  from(seq: number): Entries {
    const slab = this.#slabs[this.#indexOf(seq)] as Slab;
    return new Entries(slab, seq - slab.first, slab.count);
  }

  #nextCapacity(): number {
    const grown = Math.max(FIRST_SLAB, this.#bytes);
    return Math.min(this.#capacity, 2 ** Math.ceil(Math.log2(grown)));
  }

  /** The index of the slab with this number. Most callers request the last slab. */
  #indexOf(seq: number): number {
    let low = 0;
    let high = this.#slabs.length - 1;
    if (seq >= (this.#slabs[high]?.first ?? 0)) return high;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if ((this.#slabs[middle]?.first ?? 0) <= seq) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
