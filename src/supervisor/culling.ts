/**
 * Shuts down kernels that nobody has used for as long as their session's policy
 * says. One timer, for the next moment at which a session could be due: what
 * puts that moment off need not touch it.
 */
import type { Faults } from "../log/faults.ts";
import type { Log } from "../log/log.ts";
import type { Session } from "../session/session.ts";

/** A timer that is this late was asleep, with the machine or with the process alone. */
const ASLEEP_MS = 10_000;
/** A timer cannot be set for longer (2^31 ms); it is then set again. */
const LONGEST_MS = 2_000_000_000;

/** The set of sessions, as much as is needed of it. */
interface Sessions {
  readonly sessions: readonly Session[];
  onChange(listener: (session: Session) => void): () => void;
}

export interface CullingOptions {
  readonly supervisor: Sessions;
  readonly log: Log;
  readonly faults: Faults;
}

export class Culling implements Disposable {
  readonly #options: CullingOptions;
  readonly #stopListening: () => void;
  /** Since when clients could have used their kernels: not while we did not run. */
  #awakeSince = -Infinity;
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** When it fires. */
  #due = Infinity;

  constructor(options: CullingOptions) {
    this.#options = options;
    this.#stopListening = options.supervisor.onChange((session) => {
      const due = this.#dueOf(session);
      if (due < this.#due) this.#arm(due);
    });
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#stopListening();
  }

  /** Milliseconds of the monotonic clock; never where the session has no such rule, or nothing runs. */
  #dueOf({ isRunning, policy, usedAt }: Session): number {
    const { cull_idle_timeout } = policy;
    if (cull_idle_timeout === 0 || !isRunning) return Infinity;
    return Math.max(usedAt, this.#awakeSince) + cull_idle_timeout * 1000;
  }

  #arm(due: number): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#due = due;
    if (due === Infinity) return;
    const now = performance.now();
    const delay_ms = Math.ceil(Math.min(Math.max(due - now, 0), LONGEST_MS));
    this.#due = now + delay_ms;
    this.#timer = setTimeout(() => this.#look(), delay_ms);
    if (typeof this.#timer === "object") this.#timer.unref();
  }

  #look(): void {
    const now = performance.now();
    if (now - this.#due > ASLEEP_MS) this.#awakeSince = now;
    let next = Infinity;
    for (const session of this.#options.supervisor.sessions) {
      next = Math.min(next, this.#lookAt(session, now));
    }
    this.#arm(next);
  }

  /** When it is to be looked at again. */
  #lookAt(session: Session, now: number): number {
    const due = this.#dueOf(session);
    if (due > now) return due;
    const { cull_idle_timeout: seconds } = session.policy;
    if (session.isUnused) void this.#cull(session, seconds); // never rejects
    // One that is in use can be due after the whole time at the earliest.
    return now + seconds * 1000;
  }

  async #cull(session: Session, seconds: number): Promise<void> {
    const { log, faults } = this.#options;
    try {
      log.info(
        { session: session.id },
        `Its kernel was not used for ${seconds} s, and is shut down`,
      );
      await session.cull(`culled after ${seconds} s idle`);
    } catch (error) {
      const bindings = { session: session.id };
      faults.caught("A kernel could not be culled", error, bindings);
    }
  }
}
