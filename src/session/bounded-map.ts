export interface Dropped {
  readonly count: number;
  readonly bytes: number;
  readonly limit_bytes: number;
}

/** A map whose values together stay within a number of bytes: what was set longest ago goes first, and is counted. */
export class BoundedMap<V extends { readonly size: number }> {
  readonly limit: number;
  readonly #values = new Map<string, V>();
  #bytes = 0;
  #dropped = 0;
  #droppedBytes = 0;

  /** `limit` is in bytes. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** What was dropped for the limit, and the limit. */
  get dropped(): Dropped {
    return {
      count: this.#dropped,
      bytes: this.#droppedBytes,
      limit_bytes: this.limit,
    };
  }

  /** Oldest first. */
  entries(): IterableIterator<[string, V]> {
    return this.#values.entries();
  }

  set(key: string, value: V): void {
    this.delete(key);
    this.#values.set(key, value);
    this.#bytes += value.size;
    for (const [oldest, { size }] of this.#values) {
      if (this.#bytes <= this.limit) return;
      this.delete(oldest);
      this.#dropped += 1;
      this.#droppedBytes += size;
    }
  }

  /** One of so many bytes, more than the limit: what was there before it goes, and it is counted. */
  leaveOut(key: string, bytes: number): void {
    this.delete(key);
    this.#dropped += 1;
    this.#droppedBytes += bytes;
  }

  delete(key: string): void {
    this.#bytes -= this.#values.get(key)?.size ?? 0;
    this.#values.delete(key);
  }

  clear(): void {
    this.#values.clear();
    this.#bytes = 0;
    this.#dropped = 0;
    this.#droppedBytes = 0;
  }
}
