/**
 * The memory that all journals of a server share.
 *
 * Past half of it in entries that are nowhere else, the journal with the most
 * of them writes them down; past the whole, journals let go of what is on disk,
 * then of what everybody has heard, then of anything, the largest first. So a
 * flood is paid for by the session that floods, and many small journals together
 * are bounded too.
 */
export type Evictable = "written" | "acknowledged" | "any";

export interface MemoryHolder {
  /** Bytes that it holds in memory. */
  readonly bytes: number;
  /** Those of them that are on no disk, nor on their way to one. */
  readonly unwritten: number;
  /** Those of them that it may hold beyond all limits until they are on disk: others do not pay for one large entry. */
  readonly exempt: number;
  /** Writes down what is unwritten now. Resolves when that is done, or cannot be. */
  writeDown(): Promise<void>;
  /** Lets that many bytes go, the oldest first, or as many as are dispensable. */
  evict(bytes: number, what: Evictable): void;
}

const CHECKS = 32;

export class MemoryBudget {
  readonly limit: number;
  readonly #holders = new Set<MemoryHolder>();
  #used = 0;
  #unwritten = 0;
  #isWriting = false;
  /** Bytes to be added before it is asked again who should write: asking looks at every journal. */
  #bytesUntilCheck = 0;

  /** `limit` is in bytes. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes that all journals hold together. */
  get used(): number {
    return this.#used;
  }

  join(holder: MemoryHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: MemoryHolder): void {
    if (!this.#holders.delete(holder)) return;
    this.#used -= holder.bytes;
    this.#unwritten -= holder.unwritten;
  }

  /** A holder has more, or less, by so much. */
  count(bytes: number, unwritten: number): void {
    this.#used += bytes;
    this.#unwritten += unwritten;
    if (bytes > 0) this.#bytesUntilCheck -= bytes;
  }

  /** To be called when something was added. */
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
    // More than is needed, so that not every entry of a flood goes looking for room.
    const enough = limit - this.limit / CHECKS;
    for (const holder of this.#largestFirst(
      (each) => each.bytes - each.unwritten,
    )) {
      if (this.#used <= enough) return;
      holder.evict(this.#used - enough, "written");
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
