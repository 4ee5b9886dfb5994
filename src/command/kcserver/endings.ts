/**
 * Who may end the server, and how urgently: the first request lets kernels end
 * in order; somebody who interrupts or terminates us again does not want to
 * wait for them.
 *
 * A hangup is never urgent: a client that asks us to shut down closes the
 * terminal that it started us in right after it.
 */
import { readFileSync } from "node:fs";
import type { Log } from "../../log/log.ts";
import { onAccident } from "../accidents.ts";
import { exits } from "../exit.ts";

export interface Ending {
  readonly reason: string;
  /** 0 where it was asked for. */
  readonly code: number;
}

const SIGHUP = 1;

/**
 * Windows ends who has not ended five seconds after their console was closed,
 * which Node tells as a hangup.
 */
const CLOSING_MS = 3_000;

/** Signals that come together are one: a shell, npm and a terminal may each hand on the same Ctrl-C. */
const TOGETHER_MS = 500;

export class Endings implements Disposable {
  /** Resolves at the first request. */
  readonly first: Promise<Ending>;
  /** Resolves when it is to be over at once. */
  readonly urgent: Promise<Ending>;
  readonly #log: Log;
  readonly #undo: (() => void)[] = [];
  #begin: (ending: Ending) => void = () => {};
  #hurry: (ending: Ending) => void = () => {};
  #hasFault = false;
  #signalledAt: number | undefined;

  /** From now on signals are requests. Explicitly, since a shell may have started us with some of them ignored. */
  constructor(
    log: Log,
    {
      ignoresHangup,
      platform = process.platform,
    }: {
      readonly ignoresHangup: boolean;
      readonly platform?: NodeJS.Platform;
    },
  ) {
    this.#log = log;
    this.first = new Promise((resolve) => (this.#begin = resolve));
    this.urgent = new Promise((resolve) => (this.#hurry = resolve));
    const isDeaf = ignoresHangup || isIgnored(SIGHUP);
    this.#on("SIGINT", () => this.#insist("SIGINT"));
    this.#on("SIGTERM", () => this.#insist("SIGTERM"));
    const isWindows = platform === "win32";
    if (isWindows) {
      this.#on("SIGBREAK", () => this.#insist("SIGBREAK"));
    }
    this.#on("SIGHUP", () => {
      log.info(isDeaf ? "SIGHUP received, and ignored" : "SIGHUP received");
      if (isDeaf) return;
      const ending = { reason: "SIGHUP", code: 0 };
      this.request(ending);
      if (!isWindows) return;
      setTimeout(() => this.#hurry(ending), CLOSING_MS).unref();
    });
    const accidents = onAccident(log, () => {
      const ending = { reason: "a bug of ours", code: exits.accident[0] };
      if (this.#hasFault) this.#hurry(ending);
      this.#hasFault = true;
      this.request(ending);
    });
    this.#undo.push(() => accidents[Symbol.dispose]());
  }

  /** In order; nothing when the end has begun. */
  request(ending: Ending): void {
    this.#begin(ending);
  }

  [Symbol.dispose](): void {
    for (const undo of this.#undo.splice(0)) undo();
  }

  #insist(signal: NodeJS.Signals): void {
    const now = performance.now();
    const ending = { reason: signal, code: 0 };
    this.#log.info(`${signal} received`);
    this.#signalledAt ??= now;
    if (now - this.#signalledAt > TOGETHER_MS) this.#hurry(ending);
    this.request(ending);
  }

  #on(signal: NodeJS.Signals, heard: () => void): void {
    process.on(signal, heard);
    this.#undo.push(() => process.off(signal, heard));
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
