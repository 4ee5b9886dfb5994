/**
 * Who may end the server, and how urgently: the first request lets kernels end
 * in order, a second one does not wait for them.
 */
import { readFileSync } from "node:fs";
import type { Log } from "../../log.ts";

export interface Ending {
  readonly reason: string;
  /** 0 where it was asked for. */
  readonly code: number;
}

const SIGHUP = 1;

export class Endings implements Disposable {
  /** Resolves at the first request. */
  readonly first: Promise<Ending>;
  /** Resolves at the second. */
  readonly second: Promise<Ending>;
  readonly #log: Log;
  readonly #waiting: ((ending: Ending) => void)[] = [];
  readonly #undo: (() => void)[] = [];

  /** From now on signals are requests. Explicitly, since a shell may have started us with some of them ignored. */
  constructor(log: Log, { ignoresHangup }: { ignoresHangup: boolean }) {
    this.#log = log;
    this.first = new Promise((resolve) => this.#waiting.push(resolve));
    this.second = new Promise((resolve) => this.#waiting.push(resolve));
    this.#onSignal("SIGINT");
    this.#onSignal("SIGTERM");
    if (process.platform === "win32") this.#onSignal("SIGBREAK");
    if (ignoresHangup || isIgnored(SIGHUP)) {
      this.#on("SIGHUP", () => log.debug("SIGHUP, which is to be ignored"));
    } else this.#onSignal("SIGHUP");
    this.#onAccident("uncaughtException", (error) => {
      log.fatal({ err: error }, "The server ends by a fault of its own");
      this.request({ reason: "a fault of its own", code: 1 });
    });
    // Somebody's answer got lost; that is no reason to end everybody's kernels.
    this.#onAccident("unhandledRejection", (error) => {
      log.error({ err: error }, "Nobody waited for something that failed");
    });
  }

  request(ending: Ending): void {
    const next = this.#waiting.shift();
    if (next === undefined) return;
    next(ending);
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  #onSignal(signal: NodeJS.Signals): void {
    this.#on(signal, () => {
      this.#log.info(`${signal} received`);
      this.request({ reason: signal, code: 0 });
    });
  }

  #on(signal: NodeJS.Signals, heard: () => void): void {
    process.on(signal, heard);
    this.#undo.push(() => process.off(signal, heard));
  }

  #onAccident(
    event: "uncaughtException" | "unhandledRejection",
    heard: (error: unknown) => void,
  ): void {
    process.on(event, heard);
    this.#undo.push(() => process.off(event, heard));
  }
}

/** Known on Linux only, and only of a Node that leaves the signals as it found them; otherwise the launcher tells. */
function isIgnored(signal: number): boolean {
  try {
    const status = readFileSync("/proc/self/status", "utf8");
    const mask = /^SigIgn:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0";
    return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}
