/**
 * A kernel's process and its descendants, which are signalled together.
 *
 * Windows has neither signals nor process groups. There a job does both, or
 * `taskkill` if there is no job. On other systems a kernel leads its own process
 * group, and a signal goes to the group. Processes that left the group
 * (`setsid`, job control) can be found only while their parents are alive. So
 * they are looked up and remembered before a signal that may end the parents.
 * If no process is left, that is an outcome, not an error.
 */
import { execFile } from "node:child_process";
import {
  allPids,
  descendantsOf,
  isAlive,
  startTimeOf,
  statOf,
  type ProcessIdentity,
} from "./process-table.ts";
import type { SignalOutcome } from "./signal-outcome.ts";
import type { KernelJob } from "./windows/job.ts";

export class ProcessGroup {
  readonly pid: number;
  readonly startTime: number | undefined;
  /** The start times of descendants outside of the group, by pid. */
  readonly #detached = new Map<number, number>();
  readonly #job: KernelJob | undefined;

  #wasKilled = false;

  /** For a child that was just spawned with `detached` or into a job, or for a recorded kernel with its start time. */
  constructor(pid: number, startTime = startTimeOf(pid), job?: KernelJob) {
    // A signal to 0, to -1 or to this process's own group would end far more than a kernel.
    const isOwn = pid === process.pid || pid === statOf(process.pid)?.group;
    if (!Number.isSafeInteger(pid) || pid <= 1 || isOwn) {
      throw new RangeError(
        `Process ${pid} cannot be a kernel that this server started`,
      );
    }
    this.pid = pid;
    this.startTime = startTime;
    this.#job = job;
  }

  get identity(): ProcessIdentity {
    return { pid: this.pid, startTime: this.startTime };
  }

  /** Whether `kill` was called. */
  get wasKilled(): boolean {
    return this.#wasKilled;
  }

  /** Whether the leader is alive. Members of its group may outlive it. */
  get isAlive(): boolean {
    return isAlive(this.pid, this.startTime);
  }

  /** The pids of the group and of its descendants that have left it. Empty if the system does not report them. */
  get members(): number[] {
    if (process.platform !== "linux") return [];
    this.remember();
    const isMember = (pid: number) => statOf(pid)?.group === this.pid;
    const group = this.#isOurs ? allPids().filter(isMember) : [];
    const roots = new Set([...group, ...this.#liveDetached()]);
    return [...roots, ...descendantsOf(roots)];
  }

  /** Sends SIGINT to the group, as Ctrl-C in a terminal does; processes that left the group do not get it. On Windows it sets the job's interrupt event. */
  async interrupt(): Promise<SignalOutcome> {
    if (process.platform !== "win32") return this.#signalGroup("SIGINT");
    return (await this.#job?.interrupt()) ?? "unsupported";
  }

  /**
   * Finds descendants that left the group, so that `terminate` and `kill` reach
   * them after the kernel has ended. Call it before the request to shut down.
   */
  remember(): void {
    const group = this.#isOurs ? [this.pid] : [];
    for (const pid of descendantsOf([...group, ...this.#liveDetached()])) {
      const stat = statOf(pid);
      if (stat === undefined || stat.group === this.pid) continue;
      this.#detached.set(pid, stat.startTime);
    }
  }

  /** Sends SIGTERM. On Windows, which has no such signal, it is the same as `kill`. */
  async terminate(): Promise<SignalOutcome> {
    if (process.platform === "win32") return this.#killOnWindows();
    this.remember();
    return this.#signalAll("SIGTERM");
  }

  /** Sends SIGKILL. Call it also after the kernel has ended: it kills the processes that the kernel left behind. */
  async kill(): Promise<SignalOutcome> {
    this.#wasKilled = true;
    if (process.platform === "win32") return this.#killOnWindows();
    // Stopped processes cannot start others, so the search ends before the first process is killed.
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const before = this.#detached.size;
      this.#signalAll("SIGSTOP");
      this.remember();
      if (this.#detached.size === before) break;
    }
    return this.#signalAll("SIGKILL");
  }

  async #killOnWindows(): Promise<SignalOutcome> {
    const outcome = this.#job?.kill();
    if (outcome !== undefined) return outcome;
    // Descendants can be found only through a live process, and the pid of an ended one may be reused soon.
    return this.isAlive ? await taskkill(this.pid) : "gone";
  }

  #signalAll(signal: NodeJS.Signals): SignalOutcome {
    const outcomes = [this.#signalGroup(signal)];
    for (const pid of this.#liveDetached())
      outcomes.push(sendSignal(pid, signal));
    return (
      outcomes.find((outcome) => outcome === "sent") ??
      outcomes.find((outcome) => outcome === "refused") ??
      "gone"
    );
  }

  #signalGroup(signal: NodeJS.Signals): SignalOutcome {
    if (!this.#isOurs) return "gone";
    const outcome = sendSignal(-this.pid, signal);
    // A process that was started without its own group can still be signalled alone.
    if (outcome !== "gone" || !this.isAlive) return outcome;
    return sendSignal(this.pid, signal);
  }

  /**
   * The system does not reuse a pid while a group with that number exists. So if
   * the leader has ended, a group with this number is still the kernel's.
   */
  get #isOurs(): boolean {
    const startTime = startTimeOf(this.pid);
    return (
      startTime === undefined ||
      this.startTime === undefined ||
      startTime === this.startTime
    );
  }

  #liveDetached(): number[] {
    for (const [pid, startTime] of this.#detached) {
      if (!isAlive(pid, startTime)) this.#detached.delete(pid);
    }
    return [...this.#detached.keys()];
  }
}

/** Each round goes one generation deeper; no real kernel has a chain this long. */
const MAX_ROUNDS = 20;

function sendSignal(pid: number, signal: NodeJS.Signals): SignalOutcome {
  try {
    process.kill(pid, signal);
    return "sent";
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ESRCH") return "gone";
    if (code === "EPERM") return "refused";
    throw error;
  }
}

const TASKKILL_TIMEOUT_MS = 10_000;

/** Kills the process and its descendants: Windows has no gentler way for programs without a window. */
function taskkill(pid: number): Promise<SignalOutcome> {
  return new Promise((resolve) => {
    execFile(
      "taskkill",
      ["/pid", String(pid), "/T", "/F"],
      { timeout: TASKKILL_TIMEOUT_MS, windowsHide: true },
      (error) => {
        // 128: there is no such process. Other codes mostly mean that access was denied.
        const isGone = error?.code === 128 || !isAlive(pid);
        resolve(error === null ? "sent" : isGone ? "gone" : "refused");
      },
    );
  });
}
