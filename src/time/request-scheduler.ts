/**
 * Fair scheduling of clients' requests: they get a part of each turn of the event
 * loop. A request that finds this part used up continues in a later turn, in order
 * of arrival. So a thousand requests, or a long one, do not delay other work.
 */

/** The time for requests in one turn of the event loop. */
const SHARE_MS = 4;

/** Test environments of browsers have no `setImmediate`. */
const later: (run: () => void) => void =
  typeof setImmediate === "function"
    ? (run) => void setImmediate(run)
    : (run) => void setTimeout(run, 0);

const waiting: (() => void)[] = [];
/** The end of the time for requests in this turn of the event loop. */
let until: number | undefined;

/** One for the whole process: it has one event loop. */
export const requestScheduler = {
  /** `undefined` if the caller may continue at once; otherwise resolves when it may. */
  next(): Promise<void> | undefined {
    if (waiting.length === 0 && performance.now() < end()) return;
    return new Promise((resolve) => {
      waiting.push(resolve);
      later(serve);
    });
  },

  /** Resolves with the result of `work`, which yields where it may be interrupted. */
  async run<T>(work: Generator<void, T>): Promise<T> {
    for (;;) {
      await requestScheduler.next();
      const step = work.next();
      if (step.done === true) return step.value;
    }
  },

  /** A queue for the calls of one client: only one of them at a time competes with other clients. */
  queue(): RequestQueue {
    let last = Promise.resolve();
    return () => (last = last.then(() => requestScheduler.next()));
  },
};

/** Resolves when the caller may continue. */
export type RequestQueue = () => Promise<void>;

/** The event loop calls this once for each caller that waits. */
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

/** Runs `work` to its end without a break, and returns its result. */
export function runAtOnce<T>(work: Generator<void, T>): T {
  for (;;) {
    const step = work.next();
    if (step.done === true) return step.value;
  }
}
