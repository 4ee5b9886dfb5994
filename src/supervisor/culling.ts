/**
 * Shuts down kernels that were not used for the time in their session's policy,
 * and warns a moment before. There is one timer, for the next moment at which
 * there can be something to do. An event that only delays this moment does not
 * change the timer.
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

/** Hears which kernels are shut down because nobody uses them. None may throw. */
export interface CullingListener {
  /** The kernel is shut down in so many seconds, unless it is used before. */
  warned(session: Session, in_s: number): void;
  culled(session: Session): void;
  failed(session: Session, error: unknown): void;
}

export interface CullingOptions {
  readonly supervisor: SessionSource;
  /** Default: no listener. */
  readonly listener?: CullingListener | undefined;
  readonly log: Log;
  readonly faults: Faults;
}

/** The longest time between a warning and the end. Of a short timeout, it is half. */
const WARNING_MS = 60_000;

/** Culls until the result is disposed. */
export function cullIdle({
  supervisor,
  listener,
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
  /** The ends of which the listener was warned. */
  const warned = new WeakMap<Session, number>();
  /** When there is something to do for the session. */
  const nextOf = (session: Session): number => {
    const due = dueOf(session);
    if (listener === undefined || due === warned.get(session)) return due;
    const { cull_idle_timeout: seconds } = session.policy;
    return due - Math.min(WARNING_MS, seconds * 500);
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
    const next = nextOf(session);
    if (next > now) return next;
    const due = dueOf(session);
    if (due > now) {
      warned.set(session, due);
      if (session.isUnused) {
        listener?.warned(session, Math.ceil((due - now) / 1000));
      }
      return due;
    }
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
      listener?.culled(session);
    } catch (error) {
      listener?.failed(session, error);
      const bindings = { session: session.id };
      faults.caught("A kernel could not be culled", error, bindings);
    }
  };

  const stopListening = supervisor.onChange((session) => {
    const next = nextOf(session);
    if (next < timerDue) arm(next);
  });
  return {
    [Symbol.dispose]() {
      clearTimeout(timer);
      stopListening();
    },
  };
}
