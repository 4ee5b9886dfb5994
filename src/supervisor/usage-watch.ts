/**
 * Samples the resource usage of kernels. One sampler serves the whole server. It
 * samples only process trees of sessions that have readers, and is off while
 * there are none.
 */
import { type UsageSampler, usageSampler } from "../host/usage.ts";
import type { Log } from "../log/log.ts";
import type { Session } from "../session/session.ts";
import type { Supervisor } from "./supervisor.ts";

/** Sampling may use this share of a core. If it would use more, the period becomes longer, up to ten times. */
const SHARE = 0.1;
const MOST_STRETCHED = 10;

export interface UsageWatch extends Disposable {
  /** Milliseconds; 0 is off. */
  interval_ms: number;
}

export function watchUsage(
  supervisor: Supervisor,
  log: Log,
  interval_ms: number,
): UsageWatch {
  const sampler = usageSampler();
  let timer: NodeJS.Timeout | undefined;
  let isDisposed = false;
  const arm = (delay_ms: number): void => {
    clearTimeout(timer);
    if (interval_ms === 0 || isDisposed) return;
    timer = setTimeout(() => {
      sample(supervisor, sampler, interval_ms).then(
        (cost_ms) => {
          const least = interval_ms;
          arm(
            Math.min(Math.max(least, cost_ms / SHARE), least * MOST_STRETCHED),
          );
        },
        (error: unknown) => {
          log.warn({ err: error }, "Resource usage could not be sampled");
          arm(interval_ms);
        },
      );
    }, delay_ms);
    timer.unref();
  };
  arm(interval_ms);
  return {
    get interval_ms() {
      return interval_ms;
    },
    set interval_ms(value) {
      interval_ms = value;
      arm(interval_ms);
    },
    [Symbol.dispose]() {
      isDisposed = true;
      sampler.forget();
      clearTimeout(timer);
    },
  };
}

/** Resolves with its cost in milliseconds of CPU time. */
async function sample(
  { sessions }: Supervisor,
  sampler: UsageSampler,
  sampling_period_ms: number,
): Promise<number> {
  const watched = sessions.filter(
    (session): session is Session & { pid: number } =>
      session.pid !== undefined && session.journal.readers > 0,
  );
  if (watched.length === 0) {
    sampler.forget();
    return 0;
  }
  const before = process.cpuUsage();
  const usages = await sampler.sample(watched);
  const timestamp = Date.now();
  for (const session of watched) {
    const usage = usages.get(session.pid);
    if (usage === undefined) continue;
    session.sampled({
      ...usage,
      cpu_percent: Math.round(usage.cpu_percent),
      sampling_period_ms,
      timestamp,
    });
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000;
}
