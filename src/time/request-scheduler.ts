/**
 * The part of each turn of the event loop in which clients' requests are
 * worked at. Who comes when it is used up goes on in the next turn, in the
 * order in which they came; so a thousand requests, or one that is long, keep
 * nobody else waiting.
 */

/** How long requests are worked at in one turn of the event loop. */
const SHARE_MS = 4;

/** Test environments of browsers have no `setImmediate`. */
const later: (run: () => void) => void =
  typeof setImmediate === "function"
    ? (run) => void setImmediate(run)
    : (run) => void setTimeout(run, 0);

const waiting: (() => void)[] = [];
/** Until when requests are worked at in this turn of the loop. */
let until: number | undefined;

/** One for the whole process: it has one event loop. */
export const requestScheduler = {
  /** `undefined` where the caller may go on at once; else resolves when it is its turn. */
  next(): Promise<void> | undefined {
    if (waiting.length === 0 && performance.now() < end()) return;
    return new Promise((resolve) => {
      waiting.push(resolve);
      later(serve);
    });
  },

  /** The result of `work`, which yields where it may be interrupted. */
  async run<T>(work: Generator<void, T>): Promise<T> {
    for (;;) {
      await requestScheduler.next();
      const step = work.next();
      if (step.done === true) return step.value;
    }
  },

  /** The turns of one client's calls: one of them at a time waits among others. */
  queue(): RequestQueue {
    let last = Promise.resolve();
    return () => (last = last.then(() => requestScheduler.next()));
  },
};

/** Resolves when it is the caller's turn. */
export type RequestQueue = () => Promise<void>;

/** Stands in the queue of the event loop once for each caller that waits. */
function serve(): void {
  if (performance.now() < end()) waiting.shift()?.();
  else later(serve);
}

function end(): number {
  if (until === undefined) {
    until = performance.now() + SHARE_MS;
    later(() => (until = undefined));
  }
  return until;
}

/** The result of `work`, without a pause. */
export function runAtOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
