/** A session's rules as values: how they change, and how often a kernel may be started again. */
import type {
  Autorestart,
  PolicyChange,
  SessionPolicy,
} from "../../contract/index.ts";

/** Fields that `change` leaves out keep their values. */
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

/** What happens after a kernel has exited by itself. `note` is added to the reason that clients get. */
export interface ExitOutcome {
  readonly isStartedAgain: boolean;
  readonly note: string;
}

export const STAYS_EXITED: ExitOutcome = { isStartedAgain: false, note: "" };

/**
 * Decides whether to start the kernel again. `starts` has the times of earlier
 * automatic starts, by the monotonic clock; a new start is added to it. The limit
 * stops a kernel that exits at every start.
 */
export function takeStart(
  starts: number[],
  { limit, window_s }: Autorestart,
): ExitOutcome {
  const now = performance.now();
  const recent = starts.filter((at) => at > now - window_s * 1000);
  const isStartedAgain = recent.length < limit;
  if (isStartedAgain) recent.push(now);
  starts.splice(0, Infinity, ...recent);
  const count = recent.length;
  return {
    isStartedAgain,
    note: isStartedAgain
      ? `; it is started again (${count} of ${limit} times in ${window_s} s)`
      : `; it is not started again: it was ${count} times in ${window_s} s`,
  };
}
