/**
 * The part of each turn of the event loop in which clients' requests are
 * worked at. Who comes when it is used up goes on in the next turn, in the
 * order in which they came; so a thousand requests, or one that is long, keep
 * nobody else waiting.
 */

/** How long requests are worked at in one turn of the event loop. */
const SHARE_MS = 8;

/** Test environments of browsers have no `setImmediate`. */
const later: (run: () => void) => void =
  typeof setImmediate === "function"
    ? (run) => void setImmediate(run)
    : (run) => void setTimeout(run, 0);

export class Share {
  readonly #waiting: (() => void)[] = [];
  /** Until when requests are worked at in this turn of the loop. */
  #until: number | undefined;

  /** `undefined` where the caller may go on at once; else resolves when it is its turn. */
  turn(): Promise<void> | undefined {
    if (this.#waiting.length === 0 && performance.now() < this.#end()) return;
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
      later(this.#serve);
    });
  }

  /** The result of `work`, which yields where it may be interrupted. */
  async all<T>(work: Generator<void, T>): Promise<T> {
    for (;;) {
      await this.turn();
      const step = work.next();
      if (step.done === true) return step.value;
    }
  }

  /** Stands in the queue of the event loop once for each who waits. */
  readonly #serve = (): void => {
    if (performance.now() < this.#end()) this.#waiting.shift()?.();
    else later(this.#serve);
  };

  #end(): number {
    if (this.#until === undefined) {
      this.#until = performance.now() + SHARE_MS;
      later(() => (this.#until = undefined));
    }
    return this.#until;
  }
}

/** The turns of one client's calls: one of them at a time waits among others. */
export class Line {
  #last: Promise<void> = Promise.resolve();

  turn(): Promise<void> {
    this.#last = this.#last.then(() => share.turn());
    return this.#last;
  }
}

/** One for the whole process: it has one event loop. */
export const share = new Share();

/** The result of `work`, without a pause. */
export function atOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
