/** A session's rules as values: how they change, and how often a kernel may be started again. */
import type {
  Autorestart,
  PolicyChange,
  SessionPolicy,
} from "../../contract/index.ts";

/** What is not given stays. */
export function changed(
  policy: SessionPolicy,
  change: PolicyChange | null | undefined,
): SessionPolicy {
  const {
    cull_idle_timeout = policy.cull_idle_timeout,
    cull_connected = policy.cull_connected,
    cull_busy = policy.cull_busy,
    autorestart = policy.autorestart,
  } = change ?? {};
  return { cull_idle_timeout, cull_connected, cull_busy, autorestart };
}

/** What becomes of a session whose kernel has gone by itself, with words for the reason that clients hear. */
export interface Fate {
  readonly isStartedAgain: boolean;
  readonly said: string;
}

export const STAYS_EXITED: Fate = { isStartedAgain: false, said: "" };

/** Counts the starts that were nobody's wish, so that a kernel which dies at birth does not go on for ever. */
export class RestartBudget {
  /** When each was, by a clock that nobody sets. */
  #starts: number[] = [];

  /** Takes one start, where one is left. */
  take({ limit, window_s }: Autorestart): Fate {
    const now = performance.now();
    this.#starts = this.#starts.filter((at) => at > now - window_s * 1000);
    const isStartedAgain = this.#starts.length < limit;
    if (isStartedAgain) this.#starts.push(now);
    const count = this.#starts.length;
    return {
      isStartedAgain,
      said: isStartedAgain
        ? `; it is started again (${count} of ${limit} times in ${window_s} s)`
        : `; it is not started again: it was ${count} times in ${window_s} s`,
    };
  }

  /** Somebody starts it: what was before does not count. */
  reset(): void {
    this.#starts = [];
  }
}
