/** The signals that ask a command to end. Without a listener, they end the process as usual. */
import type { ExitCode } from "./exit.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
export type EndSignal = (typeof signals)[number];

export const exitOf = {
  SIGINT: "interrupted",
  SIGTERM: "terminated",
  SIGHUP: "hangup",
} as const satisfies Record<EndSignal, ExitCode>;

/** Calls `listener` with each signal and the number of signals so far, until the result is disposed. */
export function onSignals(
  listener: (signal: EndSignal, count: number) => void,
): Disposable {
  let count = 0;
  const onSignal = (signal: NodeJS.Signals) => {
    count += 1;
    listener(signal as EndSignal, count);
  };
  for (const signal of signals) process.on(signal, onSignal);
  return {
    [Symbol.dispose]() {
      for (const signal of signals) process.off(signal, onSignal);
    },
  };
}
