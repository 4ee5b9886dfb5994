/**
 * Where those who read a journal have come to, and so what of it is needed
 * least: what everybody who is here has heard.
 *
 * Who reads all of it and leaves has still heard what it has heard, and comes
 * back for the rest. Who reads a part (one execution) only keeps the journal
 * from letting go of what is still to come.
 */
export type Cursor = () => number;

export class Cursors {
  readonly #whole = new Set<Cursor>();
  readonly #partial = new Set<Cursor>();
  /** Where the last who read all of it was when it left. */
  #lastPosition = 0;

  /** How many read just now. */
  get count(): number {
    return this.#whole.size + this.#partial.size;
  }

  /** Up to this number nobody who is here needs anything. */
  get acknowledged(): number {
    const whole =
      this.#whole.size > 0 ? this.#whole : [() => this.#lastPosition];
    let least = Infinity;
    for (const cursor of [...whole, ...this.#partial]) {
      least = Math.min(least, cursor());
    }
    return least;
  }

  /** Somebody begins to read: `place` is the number up to which it has heard everything. Returns what is to be called when it leaves. */
  add(cursor: Cursor, isPartial: boolean): () => void {
    const readers = isPartial ? this.#partial : this.#whole;
    readers.add(cursor);
    return () => {
      readers.delete(cursor);
      if (!isPartial && readers.size === 0) this.#lastPosition = cursor();
    };
  }
}
