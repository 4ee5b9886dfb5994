/**
 * The memory that all journals of a server share.
 *
 * When more than half of it holds entries that are not on disk, the journal with
 * the most unwritten bytes writes them. When the limit is exceeded, journals
 * evict entries that are on disk, then what they hold beyond their own limits,
 * then entries that all readers have acknowledged, then any entries; the largest
 * journal first. So a session that floods loses its own entries, and the sum over
 * many small journals is bounded.
 */
export type Evictable = "written" | "acknowledged" | "any";

export interface MemoryHolder {
  /** Its bytes in memory. */
  readonly bytes: number;
  /** Bytes in memory that are not on disk and are not being written. */
  readonly unwritten: number;
  /** Bytes that it may hold beyond all limits until they are on disk, so that other journals do not lose entries for one large entry. */
  readonly exempt: number;
  /** Bytes that it holds beyond its own limit, because they are not on disk. It gives them up first. */
  readonly overdraft: number;
  /** Writes the currently unwritten entries. Resolves when they are written or the write has failed. */
  writeDown(): Promise<void>;
  /** Evicts `bytes` bytes, oldest first, or fewer if fewer are of this kind. */
  evict(bytes: number, what: Evictable): void;
}

const CHECKS = 32;
/** Journals may exceed their own limits while less than this part is used. */
const SPACIOUS_PART = 3 / 4;

export class MemoryBudget {
  readonly limit: number;
  readonly #holders = new Set<MemoryHolder>();
  #used = 0;
  #unwritten = 0;
  #isWriting = false;
  /** Bytes to be added before the next choice of a journal that writes, because the choice looks at every journal. */
  #bytesUntilCheck = 0;

  /** `limit` is in bytes. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes of all journals in memory. */
  get used(): number {
    return this.#used;
  }

  /** Whether a journal may hold more than its own limit. */
  get isSpacious(): boolean {
    return this.#used < this.limit * SPACIOUS_PART;
  }

  /** The holder calls `leave` once. */
  join(holder: MemoryHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: MemoryHolder): void {
    this.#holders.delete(holder);
    this.#used -= holder.bytes;
    this.#unwritten -= holder.unwritten;
  }

  /** Adds a holder's change of bytes; negative if it has fewer. */
  count(bytes: number, unwritten: number): void {
    this.#used += bytes;
    this.#unwritten += unwritten;
    if (bytes > 0) this.#bytesUntilCheck -= bytes;
  }

  /** The holder calls it after each addition. */
  enforceLimit(): void {
    const isPressed =
      this.#unwritten > this.limit / 2 && this.#bytesUntilCheck <= 0;
    if (isPressed && !this.#isWriting) {
      this.#isWriting = true;
      this.#bytesUntilCheck = this.limit / CHECKS;
      const [largest] = this.#largestFirst(({ unwritten }) => unwritten);
      void largest?.writeDown().finally(() => (this.#isWriting = false)); // it never rejects
    }
    if (this.#used <= this.limit) return;
    let limit = this.limit;
    for (const { exempt } of this.#holders) limit += exempt;
    if (this.#used <= limit) return;
    // Evicts more than needed, so that not every entry of a flood starts an eviction.
    const enough = limit - this.limit / CHECKS;
    for (const holder of this.#largestFirst(
      (each) => each.bytes - each.unwritten,
    )) {
      if (this.#used <= enough) return;
      holder.evict(this.#used - enough, "written");
    }
    for (const holder of this.#largestFirst(({ overdraft }) => overdraft)) {
      const bytes = Math.min(this.#used - limit, holder.overdraft);
      if (bytes <= 0) break;
      holder.evict(bytes, "any");
    }
    for (const what of ["acknowledged", "any"] as const) {
      for (const holder of this.#largestFirst(({ bytes }) => bytes)) {
        if (this.#used <= limit) return;
        holder.evict(this.#used - limit, what);
      }
    }
  }

  #largestFirst(measure: (holder: MemoryHolder) => number): MemoryHolder[] {
    return [...this.#holders].sort((a, b) => measure(b) - measure(a));
  }
}
