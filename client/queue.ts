/** A queue of items for one reader, with a limit on their weight. */
export class Queue<T> implements AsyncIterable<T> {
  readonly #limit: number;
  #items: T[] = [];
  #weight = 0;
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => {};

  constructor(most: number) {
    this.#limit = most;
  }

  /** False if the queue is now above its limit. After the end, items are ignored. */
  push(item: T, weight = 1): boolean {
    if (this.#end !== undefined) return true;
    this.#items.push(item);
    this.#weight += weight;
    this.#wake();
    return this.#weight <= this.#limit;
  }

  /** Ends the queue: the reader takes the waiting items, and then `error` is thrown. */
  end(error?: Error): void {
    this.#end ??= { error };
    this.#wake();
  }

  /** Drops all waiting and later items: no reader follows. */
  drop(): void {
    this.#items = [];
    this.end();
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void> {
    return this.take();
  }

  /** Throws the reason of the signal when that aborts. */
  async *take(signal?: AbortSignal): AsyncGenerator<T, void> {
    const abort = () => this.#wake();
    signal?.addEventListener("abort", abort);
    let taken: T[] = [];
    let next = 0;
    try {
      for (;;) {
        signal?.throwIfAborted();
        if (next < taken.length) {
          next += 1;
          yield taken[next - 1] as T;
          continue;
        }
        [taken, next] = [this.#items, 0];
        this.#items = [];
        this.#weight = 0;
        if (taken.length > 0) continue;
        if (this.#end?.error !== undefined) throw this.#end.error;
        if (this.#end !== undefined) return;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", abort);
      if (next < taken.length) {
        this.#items = [...taken.slice(next), ...this.#items]; // for the next reader
      }
    }
  }
}
