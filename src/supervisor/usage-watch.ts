/**
 * Samples what kernels use, for those who listen: one sampler for the whole
 * server, that looks only at the process trees of sessions somebody hears, and
 * is off while there is none.
 */
import { UsageSampler } from "../host/usage.ts";
import type { Log } from "../log/log.ts";
import type { Session } from "../session/session.ts";
import type { Supervisor } from "./supervisor.ts";

/** Sampling may cost this share of a core; a period is stretched where it would cost more, up to ten times. */
const SHARE = 0.1;
const MOST_STRETCHED = 10;

export class UsageWatch implements Disposable {
  readonly #supervisor: Supervisor;
  readonly #log: Log;
  readonly #sampler = new UsageSampler();
  #interval_ms: number;
  #timer: NodeJS.Timeout | undefined;
  #isDisposed = false;

  constructor(supervisor: Supervisor, log: Log, interval_ms: number) {
    this.#supervisor = supervisor;
    this.#log = log;
    this.#interval_ms = interval_ms;
    this.#arm(interval_ms);
  }

  /** Milliseconds; 0 is off. */
  get interval_ms(): number {
    return this.#interval_ms;
  }

  set interval_ms(interval_ms: number) {
    this.#interval_ms = interval_ms;
    this.#arm(interval_ms);
  }

  [Symbol.dispose](): void {
    this.#isDisposed = true;
    this.#sampler.forget();
    clearTimeout(this.#timer);
  }

  #arm(delay_ms: number): void {
    clearTimeout(this.#timer);
    if (this.#interval_ms === 0 || this.#isDisposed) return;
    this.#timer = setTimeout(() => {
      this.#sample().then(
        (cost_ms) => {
          const least = this.#interval_ms;
          this.#arm(
            Math.min(Math.max(least, cost_ms / SHARE), least * MOST_STRETCHED),
          );
        },
        (error: unknown) => {
          this.#log.warn({ err: error }, "Resource usage could not be sampled");
          this.#arm(this.#interval_ms);
        },
      );
    }, delay_ms);
    this.#timer.unref();
  }

  /** Resolves with what it cost in milliseconds of CPU time. */
  async #sample(): Promise<number> {
    const heard = this.#supervisor.sessions.filter(
      (session): session is Session & { pid: number } =>
        session.pid !== undefined && session.journal.readers > 0,
    );
    if (heard.length === 0) {
      this.#sampler.forget();
      return 0;
    }
    const before = process.cpuUsage();
    const usages = await this.#sampler.sample(heard);
    const timestamp = Date.now();
    for (const session of heard) {
      const usage = usages.get(session.pid);
      if (usage === undefined) continue;
      session.sampled({
        ...usage,
        cpu_percent: Math.round(usage.cpu_percent),
        sampling_period_ms: this.#interval_ms,
        timestamp,
      });
    }
    const { user, system } = process.cpuUsage(before);
    return (user + system) / 1000;
  }
}
