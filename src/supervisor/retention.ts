/**
 * Deletes kept sessions whose kernels have ended, when there are too many of
 * them: the one that was not used for the longest time first.
 *
 * A session with a kernel is never deleted, nor one to which a client is
 * attached. After the start of a server nothing is deleted for a while, so that
 * clients can come back to their sessions before.
 */
import type { Faults } from "../log/faults.ts";
import type { Log } from "../log/log.ts";
import type { Session } from "../session/session.ts";
import type { Supervisor } from "./supervisor.ts";

/** What may be kept of sessions whose kernels have ended. */
export interface EndedLimits {
  /** How many. */
  readonly count: number;
  /** How long after the end, or after the last client left. */
  readonly age_ms: number;
  /** Bytes of all their files. */
  readonly bytes: number;
}

export interface RetentionOptions {
  readonly supervisor: Pick<Supervisor, "sessions" | "delete" | "onChange">;
  readonly limits: EndedLimits;
  readonly log: Log;
  readonly faults: Faults;
  /** How long nothing is deleted after the start, or after a kernel has ended. Milliseconds; default: a minute. */
  readonly delay_ms?: number | undefined;
}

const DELAY_MS = 60_000;
/** The longest time between two checks. */
const CHECK_MS = 3_600_000;

/** Deletes until the result is disposed. */
export function retainEnded({
  supervisor,
  limits,
  log,
  faults,
  delay_ms = DELAY_MS,
}: RetentionOptions): Disposable {
  let timer: NodeJS.Timeout | undefined;
  let isSoon = false;
  let isOver = false;
  const willCheckSoon = () => isSoon; // as a call, because it may change during an `await`
  const arm = (wait_ms: number): void => {
    clearTimeout(timer);
    if (isOver) return;
    timer = setTimeout(() => void check(), wait_ms); // never rejects
    timer.unref();
  };
  const soon = (): void => {
    if (isSoon) return;
    isSoon = true;
    arm(delay_ms);
  };
  const check = async (): Promise<void> => {
    isSoon = false;
    try {
      for (const each of surplus(supervisor.sessions, limits)) {
        if (isOver) return;
        await remove(each);
      }
      for (const session of supervisor.sessions) {
        if (session.isKept) session.saveUse();
      }
    } catch (error) {
      faults.caught("Ended sessions could not be looked through", error);
    }
    if (willCheckSoon()) return;
    // One that is not restored yet was not looked at.
    const isRestoring = supervisor.sessions.some((each) => !each.isRestored);
    if (isRestoring) soon();
    else arm(Math.min(CHECK_MS, Math.max(limits.age_ms, delay_ms)));
  };
  const remove = async ({ session, why }: Surplus): Promise<void> => {
    // A client may have come while another one was deleted.
    if (session.endedAt === undefined || isAttached(session)) return;
    const bindings = { session: session.id };
    log.info(bindings, `An ended session is deleted: ${why}`);
    try {
      await supervisor.delete(session.id);
    } catch (error) {
      faults.caught("An ended session could not be deleted", error, bindings);
    }
  };
  const stopListening = supervisor.onChange((session) => {
    if (session.isKept && !session.isRunning) soon();
  });
  soon();
  return {
    [Symbol.dispose]() {
      isOver = true;
      clearTimeout(timer);
      stopListening();
    },
  };
}

interface Surplus {
  readonly session: Session;
  readonly why: string;
}

/** What is beyond the limits, in the order in which it is deleted. */
function surplus(
  sessions: readonly Session[],
  { count, age_ms, bytes }: EndedLimits,
): readonly Surplus[] {
  const now = Date.now();
  const ended = sessions
    .filter((session) => session.isKept && session.isRestored)
    .filter((session) => session.endedAt !== undefined)
    .map((session) => ({ session, usedAt: usedAt(session, now) }))
    .sort((a, b) => a.usedAt - b.usedAt);
  const sizes = ended.map(({ session }) =>
    bytes === Infinity ? 0 : session.storedBytes,
  );
  let left = ended.length;
  let stored = sizes.reduce((sum, size) => sum + size, 0);
  const found: Surplus[] = [];
  for (const [index, { session, usedAt }] of ended.entries()) {
    const why =
      left > count
        ? `more than ${count} sessions have ended`
        : stored > bytes
          ? `the ended sessions have more than ${bytes} bytes`
          : now - usedAt > age_ms
            ? `nobody has used it for ${daysOf(now - usedAt)} days`
            : undefined;
    if (why === undefined) break;
    if (isAttached(session)) continue; // it counts, and stays
    found.push({ session, why });
    left -= 1;
    stored -= sizes[index] ?? 0;
  }
  return found;
}

/** When its kernel ended, or when the last client left. */
function usedAt({ endedAt, detachedAt }: Session, now: number): number {
  return Math.max(endedAt?.getTime() ?? now, detachedAt?.getTime() ?? now);
}

function isAttached({ detachedAt }: Session): boolean {
  return detachedAt === undefined;
}

function daysOf(milliseconds: number): string {
  return (milliseconds / 86_400_000).toFixed(1);
}
