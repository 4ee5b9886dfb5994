/** What waits for whoever listens, by weight: whoever pushes is told when more waits than may. */
export class Queue<T> implements AsyncIterable<T> {
  readonly #most: number;
  #items: T[] = [];
  #weight = 0;
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => {};

  constructor(most: number) {
    this.#most = most;
  }

  /** False where more waits now than may. After the end, what is pushed is ignored. */
  push(item: T, weight = 1): boolean {
    if (this.#end !== undefined) return true;
    this.#items.push(item);
    this.#weight += weight;
    this.#wake();
    return this.#weight <= this.#most;
  }

  /** Nothing more comes: what waits can be taken, and then `error` is thrown. */
  end(error?: Error): void {
    this.#end ??= { error };
    this.#wake();
  }

  /** Nobody will listen: what waits is dropped, and what comes. */
  drop(): void {
    this.#items = [];
    this.end();
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void> {
    return this.take();
  }

  /** Throws the reason of the signal, once that aborts. */
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
        this.#items = [...taken.slice(next), ...this.#items]; // for whoever listens next
      }
    }
  }
}
