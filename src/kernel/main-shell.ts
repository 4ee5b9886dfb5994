/**
 * The state of a kernel's main shell, from replies to the server's own requests.
 *
 * A kernel answers them in order with all other requests, so the `idle` after
 * such a reply means that no code runs. The control channel does not show this:
 * many kernels serve it beside running code.
 */
import { bufferOf, type Message } from "../jupyter/message.ts";
import type { ShellState } from "./kernel.ts";

/** How long the `idle` after an answer may be missing; the same as for an execution. */
const IDLE_TIMEOUT_MS = 2_000;

export class MainShell {
  /** Resolves when the shell is known to be idle or busy. */
  readonly settled: Promise<true>;
  readonly #report: (state: ShellState) => void;
  readonly #requests = new Set<string>();
  #hasAnswered = false;
  #isBusy = false;
  #isSettled = false;
  #resolve: () => void = () => {};
  #idleTimer: NodeJS.Timeout | undefined;

  /** `report` is called at most once with each state. */
  constructor(report: (state: ShellState) => void) {
    this.#report = report;
    this.settled = new Promise((resolve) => {
      this.#resolve = () => resolve(true);
    });
  }

  get hasAnswered(): boolean {
    return this.#hasAnswered;
  }

  /** Whether it is busy with requests of other senders. */
  get isBusy(): boolean {
    return this.#isBusy;
  }

  /** The server sent a request of its own to the shell. */
  requestSent(msg_id: string): void {
    if (!this.#isSettled) this.#requests.add(msg_id);
  }

  /** The shell replied to the server's request. Some kernels do not send `idle` afterwards. */
  replyReceived(msg_id: string): void {
    if (!this.#requests.has(msg_id) || this.#hasAnswered) return;
    this.#hasAnswered = true;
    this.#idleTimer = setTimeout(() => this.#settle(), IDLE_TIMEOUT_MS);
    this.#idleTimer.unref();
  }

  /** The kernel reported its state for the server's request. */
  stateForOwn(msg_id: string, state: ShellState): void {
    if (state === "idle" && this.#requests.has(msg_id)) this.#settle();
  }

  /** The kernel reported its state for a request of another sender. */
  stateForOthers(state: ShellState): void {
    this.#isBusy = state === "busy";
  }

  /** The kernel answered on another channel, and the shell did not. */
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

/** The state that a message of the kernel reports; `undefined` if it reports none. The content is searched, not parsed. */
export function reportedState({
  channel,
  header,
  raw,
}: Message): ShellState | undefined {
  if (channel !== "iopub" || header.msg_type !== "status") return undefined;
  const content = bufferOf(raw.content);
  if (content.includes(BUSY)) return "busy";
  return content.includes(IDLE) ? "idle" : undefined;
}

const BUSY = Buffer.from('"busy"');
const IDLE = Buffer.from('"idle"');
