/**
 * What code has said and nobody has listened to yet. Bounded: when too much
 * waits, the rest is left to the journal, and whoever listens is told after
 * which number it has to be read there.
 */
import type { ExecutionEvent } from "./execution-event.ts";

/** Estimated bytes. */
const MOST_WAITING = 8 * 1024 * 1024;

export class Backlog {
  #waiting: ExecutionEvent[] = [];
  #weight = 0;
  #lostAfter: number | undefined;
  #isOver = false;
  #isIgnored = false;
  #wake: () => void = () => {};

  push(said: ExecutionEvent, weight: number): void {
    if (this.#isIgnored || this.#lostAfter !== undefined) return;
    this.#waiting.push(said);
    this.#weight += weight;
    if (this.#weight > MOST_WAITING) this.#lostAfter = said.seq;
    this.#wake();
  }

  /** Nothing more comes. */
  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  /** What waits, then what comes, to the end. Returns the number after which it was too much. Once. */
  async *take(): AsyncGenerator<ExecutionEvent, number | undefined> {
    try {
      for (;;) {
        const taken = this.#waiting;
        this.#waiting = [];
        this.#weight = 0;
        yield* taken;
        if (this.#waiting.length > 0) continue;
        if (this.#lostAfter !== undefined) return this.#lostAfter;
        if (this.#isOver) return undefined;
        await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    } finally {
      this.#isIgnored = true;
      this.#waiting = [];
    }
  }
}
