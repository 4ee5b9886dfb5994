/**
 * The newest entries of a journal, in memory: slabs without holes between them,
 * oldest first. Whoever adds also decides what goes.
 */
import type { Message } from "../jupyter/message.ts";
import { Entries } from "./entries.ts";
import { Slab } from "./slab.ts";

/** Capacity of a slab: little for a journal that is short, so that many sessions take little. */
const FIRST_SLAB = 4 * 1024; // bytes
const LARGEST_SLAB = 256 * 1024;
/** A slab takes no more than this part of the memory: what goes, goes slab by slab. */
const SLABS = 16;

export class Recent {
  /** Most bytes of one slab, unless a single record is larger. */
  readonly #capacity: number;
  #slabs: Slab[] = [];
  #next = 1;
  #bytes = 0;

  /** `memory` is in bytes. */
  constructor(memory: number) {
    this.#capacity = Math.min(LARGEST_SLAB, Math.floor(memory / SLABS));
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** How many slabs it has. */
  get count(): number {
    return this.#slabs.length;
  }

  /** The oldest number that is kept; the one that comes next when none is. */
  get first(): number {
    return this.#slabs[0]?.first ?? this.#next;
  }

  get oldest(): Slab | undefined {
    return this.#slabs[0];
  }

  /** Adds a record of so many bytes, which `write` writes. */
  add(length: number, write: (slab: Slab) => void): Entries {
    const slab = this.#slabFor(length);
    const before = slab.size;
    const { count } = slab;
    write(slab);
    this.#bytes += slab.size - before;
    this.#next = slab.last + 1;
    return new Entries(slab, count, slab.count);
  }

  /** Adds a message whose record was made before. */
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

  /** Lets the oldest slab go. */
  shift(): Slab | undefined {
    const slab = this.#slabs.shift();
    if (slab !== undefined) this.#bytes -= slab.size;
    return slab;
  }

  /** From number `seq` on, which is kept, to the end of its slab. */
  from(seq: number): Entries {
    const slab = this.#slabs[this.#indexOf(seq)] as Slab;
    return new Entries(slab, seq - slab.first, slab.count);
  }

  #nextCapacity(): number {
    const grown = Math.max(FIRST_SLAB, this.#bytes);
    return Math.min(this.#capacity, 2 ** Math.ceil(Math.log2(grown)));
  }

  /** Of the slab with that number. Most ask for the last. */
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
