/**
 * What our own requests tell of a kernel's main shell.
 *
 * A kernel answers them in line with everybody's requests, so the `idle` that
 * follows such an answer says that nothing else runs. The control channel says
 * nothing of the kind: many kernels serve it beside running code.
 */
import type { ShellState } from "./kernel.ts";

/** How long the `idle` that follows an answer may be missing: as long as that of an execution. */
const IDLE_TIMEOUT_MS = 2_000;

export class MainShell {
  /** Resolves when it is known to be idle, or has said that it is busy with something else. */
  readonly settled: Promise<true>;
  readonly #report: (state: ShellState) => void;
  readonly #requests = new Set<string>();
  #hasAnswered = false;
  #isBusy = false;
  #isSettled = false;
  #resolve: () => void = () => {};
  #idleTimer: NodeJS.Timeout | undefined;

  /** `tell` is called at most once with each state. */
  constructor(report: (state: ShellState) => void) {
    this.#report = report;
    this.settled = new Promise((resolve) => {
      this.#resolve = () => resolve(true);
    });
  }

  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Whether it is busy with others' requests. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** A request of ours goes to it. */
  requestSent(msg_id: string): void {
    if (!this.#isSettled) this.#requests.add(msg_id);
  }

  /** It replies to a request of ours. A kernel may forget to say that it is idle again. */
  replyReceived(msg_id: string): void {
    if (!this.#requests.has(msg_id) || this.#hasAnswered) return;
    this.#hasAnswered = true;
    this.#idleTimer = setTimeout(() => this.#settle(), IDLE_TIMEOUT_MS);
    this.#idleTimer.unref();
  }

  /** It says its state on account of a request of ours. */
  stateForOwn(msg_id: string, state: ShellState): void {
    if (state === "idle" && this.#requests.has(msg_id)) this.#settle();
  }

  /** It says its state on account of somebody else's request. */
  stateForOthers(state: ShellState): void {
    this.#isBusy = state === "busy";
  }

  /** It has not answered, while the kernel has. */
  assumeBusy(): void {
    if (!this.#isSettled && !this.#isBusy) this.#report("busy");
  }

  close(): void {
    clearTimeout(this.#idleTimer);
    this.#isSettled = true;
  }

  #settle(): void {
    if (this.#isSettled) return;
    this.close();
    this.#requests.clear();
    if (!this.#isBusy) this.#report("idle");
    this.#resolve();
  }
}
