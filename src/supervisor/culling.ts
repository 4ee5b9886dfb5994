/**
 * Shuts down kernels that were not used for the time in their session's policy.
 * There is one timer, for the next moment at which a session can be due. An event
 * that only delays this moment does not change the timer.
 */
import type { Faults } from "../log/faults.ts";
import type { Log } from "../log/log.ts";
import type { Session } from "../session/session.ts";
import { ASLEEP_MS, LONGEST_MS } from "./timer.ts";

/** The part of the supervisor that is used here. */
interface SessionSource {
  readonly sessions: readonly Session[];
  onChange(listener: (session: Session) => void): () => void;
}

export interface CullingOptions {
  readonly supervisor: SessionSource;
  readonly log: Log;
  readonly faults: Faults;
}

/** Culls until the result is disposed. */
export function cullIdle({
  supervisor,
  log,
  faults,
}: CullingOptions): Disposable {
  /** Since when this process has run without a pause: clients could not use their kernels during a pause. */
  let awakeSince = -Infinity;
  let timer: ReturnType<typeof setTimeout> | undefined;
  /** When the timer fires. */
  let timerDue = Infinity;

  /** Milliseconds of the monotonic clock. `Infinity` if the session has no such rule, or no kernel runs. */
  const dueOf = ({ isRunning, policy, usedAt }: Session): number => {
    const { cull_idle_timeout } = policy;
    if (cull_idle_timeout === 0 || !isRunning) return Infinity;
    return Math.max(usedAt, awakeSince) + cull_idle_timeout * 1000;
  };
  const arm = (due: number): void => {
    clearTimeout(timer);
    timer = undefined;
    timerDue = due;
    if (due === Infinity) return;
    const now = performance.now();
    const delay_ms = Math.ceil(Math.min(Math.max(due - now, 0), LONGEST_MS));
    timerDue = now + delay_ms;
    timer = setTimeout(check, delay_ms);
    if (typeof timer === "object") timer.unref();
  };
  const check = (): void => {
    const now = performance.now();
    if (now - timerDue > ASLEEP_MS) awakeSince = now;
    let next = Infinity;
    for (const session of supervisor.sessions) {
      next = Math.min(next, checkSession(session, now));
    }
    arm(next);
  };
  /** Returns the time of the session's next check. */
  const checkSession = (session: Session, now: number): number => {
    const due = dueOf(session);
    if (due > now) return due;
    const { cull_idle_timeout: seconds } = session.policy;
    if (session.isUnused) void cull(session, seconds); // never rejects
    // A session in use is due after the whole timeout at the earliest.
    return now + seconds * 1000;
  };
  const cull = async (session: Session, seconds: number): Promise<void> => {
    try {
      log.info(
        { session: session.id },
        `The kernel was not used for ${seconds} s and is shut down`,
      );
      await session.cull(`culled after ${seconds} s idle`);
    } catch (error) {
      const bindings = { session: session.id };
      faults.caught("A kernel could not be culled", error, bindings);
    }
  };

  const stopListening = supervisor.onChange((session) => {
    const due = dueOf(session);
    if (due < timerDue) arm(due);
  });
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      stopListening();
    },
  };
}
