/**
 * The last ids of many. To forget the oldest costs as little as to add one: a
 * `Set` that is asked for its first member goes through the places of all that
 * were deleted before it, so one iterator stays where they end.
 */
export class LastIds {
  readonly #limit: number;
  readonly #ids = new Set<string>();
  readonly #oldestFirst = this.#ids.values();

  constructor(limit: number) {
    this.#limit = limit;
  }

  has(id: string): boolean {
    return this.#ids.has(id);
  }

  add(id: string): void {
    this.#ids.add(id);
    if (this.#ids.size <= this.#limit) return;
    const { value } = this.#oldestFirst.next();
    if (value !== undefined) this.#ids.delete(value);
  }
}
