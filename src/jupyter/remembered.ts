/**
 * A map that remembers only its newest keys. One iterator continues after the
 * keys that were dropped: a new one would pass the slots of all of them.
 */
export class Remembered<K, V> {
  readonly #limit: number;
  readonly #entries = new Map<K, V>();
  readonly #oldestFirst = this.#entries.keys();

  constructor(limit: number) {
    this.#limit = limit;
  }

  has(key: K): boolean {
    return this.#entries.has(key);
  }

  get(key: K): V | undefined {
    return this.#entries.get(key);
  }

  set(key: K, value: V): void {
    this.#entries.set(key, value);
    if (this.#entries.size <= this.#limit) return;
    const { value: oldest } = this.#oldestFirst.next();
    if (oldest !== undefined) this.#entries.delete(oldest);
  }
}
