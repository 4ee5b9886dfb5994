export interface Dropped {
  readonly count: number;
  readonly bytes: number;
  readonly limit_bytes: number;
}

/** A map whose values together stay within a number of bytes: it drops the values that were set longest ago, and counts them. */
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

  /** The values that were dropped because of the limit. */
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

  has(key: string): boolean {
    return this.#values.has(key);
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

  /** Counts a value that is larger than the limit as dropped, and deletes the key's earlier value. */
  leaveOut(key: string, bytes: number): void {
    this.delete(key);
    this.#dropped += 1;
    this.#droppedBytes += bytes;
  }

  delete(key: string): void {
    this.#bytes -= this.#values.get(key)?.size ?? 0;
    this.#values.delete(key);
  }

  /** Takes over the values of an earlier map, oldest first, and what it dropped. */
  restore(
    values: Iterable<readonly [string, V]>,
    dropped: Omit<Dropped, "limit_bytes">,
  ): void {
    this.clear();
    for (const [key, value] of values) this.set(key, value);
    this.#dropped = dropped.count;
    this.#droppedBytes = dropped.bytes;
  }

  clear(): void {
    this.#values.clear();
    this.#bytes = 0;
    this.#dropped = 0;
    this.#droppedBytes = 0;
  }
}
