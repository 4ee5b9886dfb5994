/**
 * Requests to end the server. After the first request, kernels end in order. A
 * second interrupt or termination ends them by force.
 *
 * A hangup is never urgent: a client that requests a shutdown closes the server's
 * terminal right after the request.
 */
import { readFileSync } from "node:fs";
import type { Log } from "../../log/log.ts";
import { onUncaughtError } from "../uncaught-errors.ts";
import { exits } from "../exit.ts";

export interface EndRequest {
  readonly reason: string;
  /** The exit code; 0 for an end that was requested. */
  readonly code: number;
}

const SIGHUP = 1;

/**
 * Windows kills a process five seconds after its console was closed. Node reports
 * the closing of the console as SIGHUP.
 */
const CLOSING_MS = 3_000;

/** Signals within this time count as one: a shell, npm and a terminal may each forward the same Ctrl-C. */
const SAME_SIGNAL_MS = 500;

export interface EndRequests extends Disposable {
  /** Resolves at the first request. */
  readonly first: Promise<EndRequest>;
  /** Resolves when the server must kill its kernels. */
  readonly urgent: Promise<EndRequest>;
  /** Requests an orderly end. Has no effect when the end has begun. */
  request(ending: EndRequest): void;
}

/** Handles signals as requests, also those that the shell which started the server has set to be ignored. */
export function listenForEndRequests(
  log: Log,
  {
    ignoresHangup,
    platform = process.platform,
  }: {
    readonly ignoresHangup: boolean;
    readonly platform?: NodeJS.Platform;
  },
): EndRequests {
  let request: (ending: EndRequest) => void = () => {};
  let force: (ending: EndRequest) => void = () => {};
  const first = new Promise<EndRequest>((resolve) => (request = resolve));
  const urgent = new Promise<EndRequest>((resolve) => (force = resolve));

  let signalledAt: number | undefined;
  const onSignal = (signal: NodeJS.Signals): void => {
    log.info(`${signal} received`);
    const now = performance.now();
    signalledAt ??= now;
    const ending = { reason: signal, code: 0 };
    if (now - signalledAt > SAME_SIGNAL_MS) force(ending);
    request(ending);
  };
  const isWindows = platform === "win32";
  const isHangupIgnored = ignoresHangup || isIgnored(SIGHUP);
  const hangUp = (): void => {
    log.info(
      isHangupIgnored ? "SIGHUP received, and ignored" : "SIGHUP received",
    );
    if (isHangupIgnored) return;
    const ending = { reason: "SIGHUP", code: 0 };
    request(ending);
    if (isWindows) setTimeout(() => force(ending), CLOSING_MS).unref();
  };
  const listeners = [
    ["SIGINT", () => onSignal("SIGINT")],
    ["SIGTERM", () => onSignal("SIGTERM")],
    ["SIGHUP", hangUp],
    ...(isWindows ? [["SIGBREAK", () => onSignal("SIGBREAK")] as const] : []),
  ] as const;
  for (const [signal, listener] of listeners) process.on(signal, listener);

  let hasFault = false;
  const uncaughtErrors = onUncaughtError(log, () => {
    const ending = {
      reason: "a bug in Kallichore",
      code: exits.internal_error[0],
    };
    if (hasFault) force(ending);
    hasFault = true;
    request(ending);
  });
  return {
    first,
    urgent,
    request,
    [Symbol.dispose]() {
      for (const [signal, listener] of listeners) process.off(signal, listener);
      uncaughtErrors[Symbol.dispose]();
    },
  };
}

/** Only Linux reports this, and only if Node has not reset the signals; otherwise the launcher reports it. */
function isIgnored(signal: number): boolean {
  try {
    const status = readFileSync("/proc/self/status", "utf8");
    const mask = /^SigIgn:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? "0";
    return ((BigInt(`0x${mask}`) >> BigInt(signal - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}
