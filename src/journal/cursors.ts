/**
 * The acknowledged positions of a journal's readers. Entries that all readers
 * have acknowledged can be evicted first.
 *
 * A reader of the whole journal that leaves may return, so the position of the
 * last one that left counts while there is no other. A reader of a part (one
 * execution) only keeps the entries after its position while it reads.
 */
export type Cursor = () => number;

export class Cursors {
  readonly #whole = new Set<Cursor>();
  readonly #partial = new Set<Cursor>();
  /** The position of the last reader of the whole journal when it left. */
  #lastPosition = 0;

  /** The number of current readers. */
  get count(): number {
    return this.#whole.size + this.#partial.size;
  }

  /** All current readers have acknowledged the entries up to this number. */
  get acknowledged(): number {
    const whole =
      this.#whole.size > 0 ? this.#whole : [() => this.#lastPosition];
    let least = Infinity;
    for (const cursor of [...whole, ...this.#partial]) {
      least = Math.min(least, cursor());
    }
    return least;
  }

  /** Adds a reader. `cursor` returns the number up to which it has acknowledged all entries. The caller calls the returned function when the reader leaves. */
  add(cursor: Cursor, isPartial: boolean): () => void {
    const readers = isPartial ? this.#partial : this.#whole;
    readers.add(cursor);
    return () => {
      readers.delete(cursor);
      if (!isPartial && readers.size === 0) this.#lastPosition = cursor();
    };
  }
}
