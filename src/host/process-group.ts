/**
 * A kernel's process and all that came of it, as one thing to signal.
 *
 * Windows has neither signals nor groups: there a job stands for both, and where
 * it cannot be had, `taskkill`. Elsewhere a kernel leads a group of its own, and a signal goes to the group. Processes
 * that left it (`setsid`, job control) can only be found while their parents
 * live, so they are looked up before a signal that may end the parents, and
 * remembered. That there is nobody left is an outcome, not an error.
 */
import { execFile } from "node:child_process";
import {
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
  /** Descendants outside the group: pid to start time. */
  readonly #strays = new Map<number, number>();
  readonly #job: KernelJob | undefined;

  /** Of a child that was just spawned with `detached`, or into a job, or of a kernel that was written down with its start time. */
  constructor(pid: number, startTime = startTimeOf(pid), job?: KernelJob) {
    // To signal 0, -1 or our own group would end far more than a kernel.
    const isOwn = pid === process.pid || pid === statOf(process.pid)?.group;
    if (!Number.isSafeInteger(pid) || pid <= 1 || isOwn) {
      throw new RangeError(`Process ${pid} cannot be a kernel of ours`);
    }
    this.pid = pid;
    this.startTime = startTime;
    this.#job = job;
  }

  get identity(): ProcessIdentity {
    return { pid: this.pid, startTime: this.startTime };
  }

  /** The leader's; members of its group may outlive it. */
  get isAlive(): boolean {
    return isAlive(this.pid, this.startTime);
  }

  /** SIGINT to the group, as a terminal's Ctrl-C; who left the group left that too. Windows: the event that its job has for it. */
  async interrupt(): Promise<SignalOutcome> {
    if (process.platform !== "win32") return this.#signalGroup("SIGINT");
    return (await this.#job?.interrupt()) ?? "unsupported";
  }

  /**
   * Looks for descendants that left the group, so that `terminate` and `kill`
   * reach them when the kernel has ended. Call it before asking the kernel to
   * shut down.
   */
  remember(): void {
    const group = this.#isOurs ? [this.pid] : [];
    for (const pid of descendantsOf([...group, ...this.#liveStrays()])) {
      const stat = statOf(pid);
      if (stat === undefined || stat.group === this.pid) continue;
      this.#strays.set(pid, stat.startTime);
    }
  }

  /** SIGTERM. Windows knows no such thing: there it is `kill`. */
  async terminate(): Promise<SignalOutcome> {
    if (process.platform === "win32") return this.#killOnWindows();
    this.remember();
    return this.#signalAll("SIGTERM");
  }

  /** SIGKILL. Call it also when the kernel has ended: it sweeps what it left behind. */
  async kill(): Promise<SignalOutcome> {
    if (process.platform === "win32") return this.#killOnWindows();
    // Stopped processes start no others, so the search comes to an end before the first dies.
    for (let round = 0; round < MOST_ROUNDS; round++) {
      const before = this.#strays.size;
      this.#signalAll("SIGSTOP");
      this.remember();
      if (this.#strays.size === before) break;
    }
    return this.#signalAll("SIGKILL");
  }

  async #killOnWindows(): Promise<SignalOutcome> {
    const outcome = this.#job?.kill();
    if (outcome !== undefined) return outcome;
    // What a process left behind is found by way of it alone; and its number may soon be another's.
    return this.isAlive ? await taskkill(this.pid) : "gone";
  }

  #signalAll(signal: NodeJS.Signals): SignalOutcome {
    const outcomes = [this.#signalGroup(signal)];
    for (const pid of this.#liveStrays()) outcomes.push(send(pid, signal));
    return (
      outcomes.find((outcome) => outcome === "sent") ??
      outcomes.find((outcome) => outcome === "refused") ??
      "gone"
    );
  }

  #signalGroup(signal: NodeJS.Signals): SignalOutcome {
    if (!this.#isOurs) return "gone";
    const outcome = send(-this.pid, signal);
    // Whoever was started without a group of its own can still be signalled by itself.
    if (outcome !== "gone" || !this.isAlive) return outcome;
    return send(this.pid, signal);
  }

  /**
   * A pid is not given away while a group of that number exists. So if there is
   * no leader any more, the group, if any, is the kernel's.
   */
  get #isOurs(): boolean {
    const startTime = startTimeOf(this.pid);
    return (
      startTime === undefined ||
      this.startTime === undefined ||
      startTime === this.startTime
    );
  }

  #liveStrays(): number[] {
    for (const [pid, startTime] of this.#strays) {
      if (!isAlive(pid, startTime)) this.#strays.delete(pid);
    }
    return [...this.#strays.keys()];
  }
}

/** Each round goes one generation deeper; a chain this long is nobody's kernel. */
const MOST_ROUNDS = 20;

function send(pid: number, signal: NodeJS.Signals): SignalOutcome {
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

const TASKKILL_PATIENCE_MS = 10_000;

/** The process and its descendants, by force: Windows has no gentler way for programs without a window. */
function taskkill(pid: number): Promise<SignalOutcome> {
  return new Promise((resolve) => {
    execFile(
      "taskkill",
      ["/pid", String(pid), "/T", "/F"],
      { timeout: TASKKILL_PATIENCE_MS, windowsHide: true },
      (error) => {
        // 128: there is no such process. Otherwise most often access denied.
        const isGone = error?.code === 128 || !isAlive(pid);
        resolve(error === null ? "sent" : isGone ? "gone" : "refused");
      },
    );
  });
}
