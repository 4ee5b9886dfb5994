/**
 * The memory that all journals of a server share.
 *
 * Past half of it in entries that are nowhere else, the journal with the most
 * of them writes them down; past the whole, journals let go of what is on disk,
 * then of what everybody has heard, then of anything, the largest first. So a
 * flood is paid for by the session that floods, and many small journals together
 * are bounded too.
 */
export type Dispensable = "written" | "heard" | "anything";

export interface Holder {
  /** Bytes that it holds in memory. */
  readonly bytes: number;
  /** Those of them that are on no disk, nor on their way to one. */
  readonly unwritten: number;
  /** Those of them that it may hold beyond all limits until they are on disk: others do not pay for one large entry. */
  readonly excused: number;
  /** Writes down what is unwritten now. Resolves when that is done, or cannot be. */
  writeDown(): Promise<void>;
  /** Lets that many bytes go, the oldest first, or as many as are dispensable. */
  shed(bytes: number, what: Dispensable): void;
}

const STRIDES = 32;

export class MemoryBudget {
  readonly limit: number;
  readonly #holders = new Set<Holder>();
  #used = 0;
  #unwritten = 0;
  #isWriting = false;
  /** Bytes to be added before it is asked again who should write: asking looks at every journal. */
  #pause = 0;

  /** `limit` is in bytes. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes that all journals hold together. */
  get used(): number {
    return this.#used;
  }

  join(holder: Holder): void {
    this.#holders.add(holder);
  }

  leave(holder: Holder): void {
    if (!this.#holders.delete(holder)) return;
    this.#used -= holder.bytes;
    this.#unwritten -= holder.unwritten;
  }

  /** A holder has more, or less, by so much. */
  count(bytes: number, unwritten: number): void {
    this.#used += bytes;
    this.#unwritten += unwritten;
    if (bytes > 0) this.#pause -= bytes;
  }

  /** To be called when something was added. */
  relieve(): void {
    const isPressed = this.#unwritten > this.limit / 2 && this.#pause <= 0;
    if (isPressed && !this.#isWriting) {
      this.#isWriting = true;
      this.#pause = this.limit / STRIDES;
      const [wordiest] = this.#byMost(({ unwritten }) => unwritten);
      void wordiest?.writeDown().finally(() => (this.#isWriting = false)); // it never rejects
    }
    if (this.#used <= this.limit) return;
    let limit = this.limit;
    for (const { excused } of this.#holders) limit += excused;
    if (this.#used <= limit) return;
    // More than is needed, so that not every entry of a flood goes looking for room.
    const enough = limit - this.limit / STRIDES;
    for (const holder of this.#byMost((each) => each.bytes - each.unwritten)) {
      if (this.#used <= enough) return;
      holder.shed(this.#used - enough, "written");
    }
    for (const what of ["heard", "anything"] as const) {
      for (const holder of this.#byMost(({ bytes }) => bytes)) {
        if (this.#used <= limit) return;
        holder.shed(this.#used - limit, what);
      }
    }
  }

  #byMost(measure: (holder: Holder) => number): Holder[] {
    return [...this.#holders].sort((a, b) => measure(b) - measure(a));
  }
}
