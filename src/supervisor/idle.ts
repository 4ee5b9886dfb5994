/**
 * Ends the server when it was not needed for long enough.
 *
 * The server is needed while a session is busy or starting, while a client is
 * attached, and while the process that sent the last heartbeat is alive: so a
 * laptop that slept for a night still has its kernels when it wakes up.
 */
import type { Guard } from "../log/guard.ts";
import {
  isAlive,
  type ProcessIdentity,
  startTimeOf,
} from "../host/process-table.ts";
import type { Log } from "../log/log.ts";
import type { Supervisor } from "./supervisor.ts";
import { ASLEEP_MS, LONGEST_MS } from "./timer.ts";

const HOUR_MS = 3_600_000;
/** The time for the setting of zero hours. */
const ZERO_HOURS_MS = 30_000;

export interface IdleWatchOptions {
  readonly supervisor: Supervisor;
  readonly log: Log;
  readonly guard: Guard;
  readonly hours: number | undefined;
  readonly expired: () => void;
}

export interface IdleWatch extends Disposable {
  /** `undefined`: never. 0: half a minute. */
  hours: number | undefined;
  /** The server was needed just now. */
  noteActivity(): void;
  /** A client reports that it is alive, with its process id. */
  heartbeat(pid: number | undefined): void;
}

export function watchIdle({
  supervisor,
  log,
  guard,
  expired,
  ...options
}: IdleWatchOptions): IdleWatch {
  let { hours } = options;
  let client: ProcessIdentity | undefined;
  /** When the server was last needed, in milliseconds of the monotonic clock. This clock cannot be set; on most systems it stops while the machine sleeps. */
  let neededAt = performance.now();
  let timer: NodeJS.Timeout | undefined;
  /** When the timer fires. */
  let due = Infinity;

  const period = (): number =>
    hours === 0 ? ZERO_HOURS_MS : (hours ?? 0) * HOUR_MS;
  const noteActivity = (): void => {
    neededAt = performance.now();
  };
  const isNeeded = (): boolean => {
    if (client !== undefined) {
      if (isAlive(client.pid, client.startTime)) return true;
      client = undefined;
    }
    return supervisor.sessions.some(
      ({ status, journal, ownership }) =>
        status === "busy" ||
        status === "starting" ||
        journal.readers > 0 ||
        ownership.isTaken,
    );
  };
  const arm = (): void => {
    clearTimeout(timer);
    if (hours === undefined) return;
    const now = performance.now();
    const left = neededAt + period() - now;
    const delay_ms = Math.min(Math.max(left, 0), LONGEST_MS);
    due = now + delay_ms;
    timer = setTimeout(check, delay_ms);
    timer.unref();
  };
  const check = guard.around("idle", () => {
    // The machine or the process slept: clients wake up at the same time.
    if (performance.now() - due > ASLEEP_MS) noteActivity();
    const isOver = performance.now() - neededAt >= period();
    if (isOver && isNeeded()) noteActivity();
    else if (isOver) {
      log.info("The server was idle for too long and shuts down");
      expired();
      return;
    }
    arm();
  });

  const stopListening = supervisor.onChange(noteActivity);
  arm();
  return {
    get hours() {
      return hours;
    },
    set hours(value) {
      hours = value;
      noteActivity();
      arm();
    },
    noteActivity,
    heartbeat(pid) {
      noteActivity();
      if (pid !== undefined && pid > 1) {
        client = { pid, startTime: startTimeOf(pid) };
      }
    },
    [Symbol.dispose]() {
      clearTimeout(timer);
      stopListening();
    },
  };
}
