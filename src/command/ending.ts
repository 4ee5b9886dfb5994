/**
 * Ends a running command early: at Ctrl-C or another signal, if the reader of its
 * output has left, or if its server is lost. A command ends once, for the first
 * of these reasons, and then it ends everything that it started.
 */
import type { Client } from "../../client/index.ts";
import { CommandError, type ExitCode, exits } from "./exit.ts";
import { exitOf, onSignals } from "./signals.ts";
import type { OutputStream } from "./terminal.ts";

/** After the end, this many further signals make the process exit without waiting. */
const SIGNALS_TO_EXIT = 3;

export class Ending implements Disposable {
  readonly #end = new AbortController();
  readonly #signals: Disposable;
  #exit: ExitCode | undefined;
  #interrupt: (() => void) | undefined;
  #laterSignals = 0;

  /** `gone` aborts when the reader of the output has left. */
  constructor(gone: AbortSignal) {
    this.#signals = onSignals((signal) => {
      const interrupt = this.#interrupt;
      this.#interrupt = undefined;
      if (signal === "SIGINT" && interrupt !== undefined) interrupt();
      else if (this.hasEnded) this.#forceExit();
      else this.end(exitOf[signal]);
    });
    gone.addEventListener("abort", () => this.end("broken_pipe"));
  }

  /** Aborts at the end; its reason is a `CommandError`. */
  get signal(): AbortSignal {
    return this.#end.signal;
  }

  get hasEnded(): boolean {
    return this.#end.signal.aborted;
  }

  /** The exit code's name. */
  get exit(): ExitCode | undefined {
    return this.#exit;
  }

  /** The next Ctrl-C calls this instead of ending the command. `undefined`: Ctrl-C ends the command. */
  set onInterrupt(interrupt: (() => void) | undefined) {
    this.#interrupt = interrupt;
  }

  /** Default of `error`: an error that is not reported, because the person knows the reason. */
  end(
    exit: ExitCode,
    error = new CommandError(exit, exits[exit][1], { isKnown: true }),
  ): void {
    this.#exit ??= exit;
    this.#end.abort(error);
  }

  /** Resolves with the result of `work`. Rejects with the signal's reason as soon as the command ends. */
  async orEnd<T>(work: Promise<T>): Promise<T> {
    const { signal } = this;
    signal.throwIfAborted();
    let abort = () => {};
    const ended = new Promise<never>((_resolve, reject) => {
      abort = () => reject(signal.reason as Error);
      signal.addEventListener("abort", abort);
    });
    try {
      return await Promise.race([work, ended]);
    } finally {
      signal.removeEventListener("abort", abort);
    }
  }

  [Symbol.dispose](): void {
    this.#signals[Symbol.dispose]();
  }

  #forceExit(): void {
    this.#laterSignals += 1;
    if (this.#laterSignals < SIGNALS_TO_EXIT) return;
    process.exit(exits[this.#exit ?? "interrupted"][0]);
  }
}

const RECONNECT_TIMEOUT_MS = 10_000;

/** Ends the command if the connection to its server is lost and cannot be restored in time. */
export function watchConnection(
  { connection }: Client,
  ending: Ending,
  err: OutputStream,
): Disposable {
  let timer: NodeJS.Timeout | undefined;
  const unsubscribe = connection.subscribe((state) => {
    if (state !== "waiting") {
      if (state !== "connecting") clearTimeout(timer);
      if (state === "open") timer = undefined;
      return;
    }
    if (timer !== undefined) return;
    void err.line(
      err.colors.dim("The connection to the server was lost; connecting again"),
    );
    timer = setTimeout(() => {
      const message = `The connection to the server was lost: ${connection.error?.message ?? "the server does not answer"}`;
      ending.end("refused", new CommandError("refused", message));
    }, RECONNECT_TIMEOUT_MS);
  });
  return {
    [Symbol.dispose]() {
      unsubscribe();
      clearTimeout(timer);
    },
  };
}
