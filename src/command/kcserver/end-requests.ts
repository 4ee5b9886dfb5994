/**
 * Requests to end the server. After the first request, kernels end in order. A
 * second interrupt or termination ends them by force.
 *
 * A hangup is never urgent: a client that asks us to shut down closes the
 * terminal that it started us in right after it.
 */
import { readFileSync } from "node:fs";
import type { Log } from "../../log/log.ts";
import { onUncaughtError } from "../uncaught-errors.ts";
import { exits } from "../exit.ts";

export interface EndRequest {
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

/** Signals within this time count as one: a shell, npm and a terminal may each pass on the same Ctrl-C. */
const SAME_SIGNAL_MS = 500;

export interface EndRequests extends Disposable {
  /** Resolves at the first request. */
  readonly first: Promise<EndRequest>;
  /** Resolves when the server should end by force. */
  readonly urgent: Promise<EndRequest>;
  /** In order; nothing when the end has begun. */
  request(ending: EndRequest): void;
}

/** From now on signals are requests. Explicitly, since a shell may have started us with some of them ignored. */
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
  for (const [signal, heard] of listeners) process.on(signal, heard);

  let hasFault = false;
  const accidents = onUncaughtError(log, () => {
    const ending = { reason: "a bug of ours", code: exits.accident[0] };
    if (hasFault) force(ending);
    hasFault = true;
    request(ending);
  });
  return {
    first,
    urgent,
    request,
    [Symbol.dispose]() {
      for (const [signal, heard] of listeners) process.off(signal, heard);
      accidents[Symbol.dispose]();
    },
  };
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
