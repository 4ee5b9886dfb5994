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
  readonly #tell: (state: ShellState) => void;
  readonly #asked = new Set<string>();
  #hasAnswered = false;
  #isBusy = false;
  #isSettled = false;
  #resolve: () => void = () => {};
  #late: NodeJS.Timeout | undefined;

  /** `tell` is called at most once with each state. */
  constructor(tell: (state: ShellState) => void) {
    this.#tell = tell;
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
  asked(msg_id: string): void {
    if (!this.#isSettled) this.#asked.add(msg_id);
  }

  /** It replies to a request of ours. A kernel may forget to say that it is idle again. */
  answered(msg_id: string): void {
    if (!this.#asked.has(msg_id) || this.#hasAnswered) return;
    this.#hasAnswered = true;
    this.#late = setTimeout(() => this.#settle(), IDLE_TIMEOUT_MS);
    this.#late.unref();
  }

  /** It says its state on account of a request of ours. */
  said(msg_id: string, state: ShellState): void {
    if (state === "idle" && this.#asked.has(msg_id)) this.#settle();
  }

  /** It says its state on account of somebody else's request. */
  saidToOthers(state: ShellState): void {
    this.#isBusy = state === "busy";
  }

  /** It has not answered, while the kernel has. */
  assumeBusy(): void {
    if (!this.#isSettled && !this.#isBusy) this.#tell("busy");
  }

  close(): void {
    clearTimeout(this.#late);
    this.#isSettled = true;
  }

  #settle(): void {
    if (this.#isSettled) return;
    this.close();
    this.#asked.clear();
    if (!this.#isBusy) this.#tell("idle");
    this.#resolve();
  }
}
