/**
 * The clock of a mocked kernel: the current time and the end of its waits. The
 * default clock reads the globals at each call, so that a test framework's fake
 * timers work. A manual clock needs no framework.
 */
export interface Clock {
  /** Milliseconds since 1970. */
  now(): number;
  /** Rejects with the signal's reason when it aborts. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>;
}

export const systemClock: Clock = {
  now: () => Date.now(),
  sleep: (ms, signal) =>
    sleepUntil(signal, (wake) => {
      const timer = setTimeout(wake, ms);
      return () => clearTimeout(timer);
    }),
};

export class ManualClock implements Clock {
  #now: number;
  readonly #sleepers = new Set<Sleeper>();

  /** `start`: a date, or milliseconds since 1970. */
  constructor(start: Date | string | number = "2026-01-01T00:00:00.000Z") {
    this.#now = new Date(start).getTime();
  }

  now(): number {
    return this.#now;
  }

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return sleepUntil(signal, (wake) => {
      const sleeper = { at: this.#now + ms, wake };
      this.#sleepers.add(sleeper);
      return () => this.#sleepers.delete(sleeper);
    });
  }

  /** Advances the time. Sleepers wake in order, and each one acts before the next one wakes. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms;
    for (;;) {
      await settled();
      const next = this.#next(end);
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      this.#sleepers.delete(next);
      next.wake();
    }
    this.#now = end;
  }

  #next(end: number): Sleeper | undefined {
    return [...this.#sleepers]
      .filter(({ at }) => at <= end)
      .toSorted((a, b) => a.at - b.at)[0];
  }
}

/** Returns a function that makes ids by counting: `prefix-1`, `prefix-2`. */
export function countingIds(prefix = "id"): () => string {
  let count = 0;
  return () => `${prefix}-${(count += 1)}`;
}

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

function sleepUntil(
  signal: AbortSignal | undefined,
  start: (wake: () => void) => () => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(signal.reason as Error);
      return;
    }
    const stop = start(() => {
      signal?.removeEventListener("abort", aborted);
      resolve();
    });
    const aborted = () => {
      stop();
      reject(signal?.reason as Error);
    };
    signal?.addEventListener("abort", aborted, { once: true });
  });
}

/** Resolves when the code that was woken has run: promises first, then work that needs the event loop. */
async function settled(): Promise<void> {
  for (let turns = 0; turns < 3; turns += 1) await turn();
}

const realTimeout = globalThis.setTimeout;
const realImmediate = (
  globalThis as { setImmediate?: (act: () => void) => unknown }
).setImmediate;

/** Waits for one turn of the event loop, even if a test has replaced the timers. */
export function turn(): Promise<void> {
  return new Promise((resolve) => {
    if (realImmediate === undefined) realTimeout(resolve, 0);
    else realImmediate(resolve);
  });
}
