/**
 * The newest ids, up to a limit. Removing the oldest id is as cheap as adding one.
 * A new iterator of a `Set` would pass the slots of all deleted members to find
 * the first one; this class keeps one iterator, which continues after them.
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
