/** What waits for whoever listens. Bounded: a listener that falls behind by more is told, once it has taken what was kept. */
import { failure } from "../contract/errors.ts";

const LIMIT = 10_000; // messages

export class Queue<T> implements AsyncIterable<T> {
  #items: T[] = [];
  #end: { readonly error: Error | undefined } | undefined;
  #wake: () => void = () => {};

  push(item: T): void {
    if (this.#end !== undefined) return;
    if (this.#items.length >= LIMIT) {
      const why = `${LIMIT} messages have not been taken: listen faster, or to less`;
      this.end(failure("too_busy", { why }));
      return;
    }
    this.#items.push(item);
    this.#wake();
  }

  /** Nothing more comes. */
  end(error?: Error): void {
    this.#end ??= { error };
    this.#wake();
  }

  [Symbol.asyncIterator](): AsyncGenerator<T, void> {
    return this.take();
  }

  /** Throws the reason of the signal, once that aborts. */
  async *take(signal?: AbortSignal): AsyncGenerator<T, void> {
    const abort = () => this.#wake();
    signal?.addEventListener("abort", abort);
    try {
      for (;;) {
        signal?.throwIfAborted();
        const item = this.#items.shift();
        if (item !== undefined) {
          yield item;
          continue;
        }
        if (this.#end?.error !== undefined) throw this.#end.error;
        if (this.#end !== undefined) return;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      signal?.removeEventListener("abort", abort);
    }
  }
}
