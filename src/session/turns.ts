/**
 * Whose turn it is to carry entries to a reader.
 *
 * A kernel that is not listened to in time drops what it says: its PUB socket
 * holds a thousand messages, as ZeroMQ would have it. A reader can wait: the
 * journal keeps everything. So readers are served one after the other in a part
 * of each turn of the event loop, and who comes too late for it is first in the
 * next. However many they are, kernels are listened to in between.
 */

/** How long readers are served in one turn of the event loop: as long as one kernel is listened to in it; */
const LEAST_MS = 8;
/** or, where that left some waiting, as long as everything else has taken since, and at most this. */
const MOST_MS = 24;

export class Turns {
  readonly #waiting: (() => void)[] = [];
  /** Until when readers are served in this turn of the loop. */
  #until: number | undefined;
  /** When it was that some were left waiting, in the turn before. */
  #cut: number | undefined;

  /** Resolves when it is the caller's turn. What it then does at once is in it. */
  next(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      setImmediate(this.#serve);
    });
  }

  /** Stands in the queue of the event loop once for each who waits. */
  readonly #serve = (): void => {
    const now = performance.now();
    this.#until ??= this.#begin(now);
    if (now < this.#until) this.#waiting.shift()?.();
    else {
      this.#cut ??= now;
      setImmediate(this.#serve);
    }
  };

  #begin(now: number): number {
    setImmediate(this.#end); // before everything else that stands there in the next turn
    const others = now - (this.#cut ?? now);
    this.#cut = undefined;
    return now + Math.min(Math.max(others, LEAST_MS), MOST_MS);
  }

  readonly #end = (): void => {
    this.#until = undefined;
  };
}
