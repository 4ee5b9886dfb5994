/**
 * Ends the server when nobody has needed it for long enough.
 *
 * Somebody needs it while a session is busy or starting, while a client is
 * attached, and while the process lives that sent the last heartbeat: a laptop
 * that slept for a night wakes up with its kernels.
 */
import type { Guard } from "../log/guard.ts";
import { isAlive, startTimeOf } from "../host/process-table.ts";
import type { Log } from "../log/log.ts";
import type { Supervisor } from "./supervisor.ts";

const HOUR_MS = 3_600_000;
/** What zero hours mean. */
const ZERO_HOURS_MS = 30_000;
/** A timer that is this late was asleep, with the machine or with the process alone. */
const ASLEEP_MS = 10_000;
/** A timer cannot be set for longer (2^31 ms); it is then set again. */
const LONGEST_MS = 2_000_000_000;

export interface IdleWatchOptions {
  readonly supervisor: Supervisor;
  readonly log: Log;
  readonly guard: Guard;
  readonly hours: number | undefined;
  readonly expired: () => void;
}

export class IdleWatch implements Disposable {
  readonly #options: IdleWatchOptions;
  readonly #stopListening: () => void;
  #hours: number | undefined;
  #client:
    | { readonly pid: number; readonly startTime: number | undefined }
    | undefined;
  /** When the server was last needed; milliseconds of the monotonic clock, which nobody sets; on most systems it stands still while the machine sleeps. */
  #neededAt = performance.now();
  #timer: NodeJS.Timeout | undefined;
  /** When the timer fires. */
  #due = Infinity;

  constructor(options: IdleWatchOptions) {
    this.#options = options;
    this.#stopListening = options.supervisor.onChange(() => this.nudge());
    this.hours = options.hours;
  }

  /** `undefined`: never. 0: half a minute. */
  get hours(): number | undefined {
    return this.#hours;
  }

  set hours(hours: number | undefined) {
    this.#hours = hours;
    this.nudge();
    this.#arm();
  }

  /** Somebody needed the server just now. */
  nudge(): void {
    this.#neededAt = performance.now();
  }

  /** A client says that it is there, and which process it is. */
  heartbeat(pid: number | undefined): void {
    this.nudge();
    if (pid !== undefined && pid > 1) {
      this.#client = { pid, startTime: startTimeOf(pid) };
    }
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#stopListening();
  }

  get #period(): number {
    return this.#hours === 0 ? ZERO_HOURS_MS : (this.#hours ?? 0) * HOUR_MS;
  }

  #arm(): void {
    clearTimeout(this.#timer);
    if (this.#hours === undefined) return;
    const now = performance.now();
    const left = this.#neededAt + this.#period - now;
    const delay_ms = Math.min(Math.max(left, 0), LONGEST_MS);
    this.#due = now + delay_ms;
    const look = this.#options.guard.around("idle", () => this.#look());
    this.#timer = setTimeout(look, delay_ms);
    this.#timer.unref();
  }

  #look(): void {
    // Nobody could need the server meanwhile: those who may are only waking up too.
    if (performance.now() - this.#due > ASLEEP_MS) this.nudge();
    const isOver = performance.now() - this.#neededAt >= this.#period;
    if (isOver && this.#isNeeded()) this.nudge();
    else if (isOver) {
      this.#options.log.info("Nobody needs the server any more: it ends");
      this.#options.expired();
      return;
    }
    this.#arm();
  }

  #isNeeded(): boolean {
    if (this.#client !== undefined) {
      if (isAlive(this.#client.pid, this.#client.startTime)) return true;
      this.#client = undefined;
    }
    return this.#options.supervisor.sessions.some(
      ({ status, journal, ownership }) =>
        status === "busy" ||
        status === "starting" ||
        journal.readers > 0 ||
        ownership.isTaken,
    );
  }
}
