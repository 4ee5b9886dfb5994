/** The ways in which a command is asked to end from outside. While nobody listens, they end the process as ever. */
import type { ExitCode } from "./exit.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type EndSignal = (typeof signals)[number];

export const exitOf = {
  SIGINT: "interrupted",
  SIGTERM: "terminated",
  SIGHUP: "hangup",
} as const satisfies Record<EndSignal, ExitCode>;

/** Calls `listener` with each signal, and how many there were, until it is disposed. */
export function onSignals(
  listener: (signal: EndSignal, count: number) => void,
): Disposable {
  let count = 0;
  const hear = (signal: NodeJS.Signals) => {
    count += 1;
    listener(signal as EndSignal, count);
  };
  for (const signal of signals) process.on(signal, hear);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, hear);
    },
  };
}
