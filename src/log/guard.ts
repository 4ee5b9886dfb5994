/**
 * Guards callbacks that the event loop calls: an error that one of them throws is
 * a bug of ours. It is logged and reported, and does not end the process.
 */
import type { Log } from "./log.ts";

/** Called for every bug of ours that was caught. */
export type FaultListener = (error: Error) => void;

export type Guard = ReturnType<typeof guardOf>;

export function guardOf(log: Log, listener?: FaultListener) {
  /** Does not throw, whatever the listener does. */
  const report = (error: unknown, where: string): void => {
    log.error({ err: error, where }, "A bug of ours; please report it");
    try {
      listener?.(error instanceof Error ? error : new Error(String(error)));
    } catch (cause) {
      log.error({ err: cause }, "The listener for faults threw");
    }
  };
  /** A callback that does not throw. `where` names its origin in the log. */
  const around =
    <Given extends unknown[]>(where: string, run: (...given: Given) => void) =>
    (...given: Given): void => {
      try {
        run(...given);
      } catch (error) {
        report(error, where);
      }
    };
  return { report, around };
}
