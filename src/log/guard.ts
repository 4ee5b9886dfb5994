/**
 * Guards callbacks that the event loop calls: an error that one of them throws is
 * a bug in Kallichore. It is logged and reported, and does not end the process.
 */
import type { Log } from "./log.ts";

/** Called for every bug in Kallichore that was caught. */
export type FaultListener = (error: Error) => void;

export type Guard = ReturnType<typeof guardOf>;

export function guardOf(log: Log, listener?: FaultListener) {
  /** Does not throw, even if the listener does. */
  const report = (error: unknown, where: string): void => {
    log.error({ err: error, where }, "A bug in Kallichore; please report it");
    try {
      listener?.(error instanceof Error ? error : new Error(String(error)));
    } catch (cause) {
      log.error({ err: cause }, "The listener for faults threw");
    }
  };
  /** A callback that does not throw. `where` names its origin in the log. */
  const around =
    <Args extends unknown[]>(where: string, run: (...args: Args) => void) =>
    (...args: Args): void => {
      try {
        run(...args);
      } catch (error) {
        report(error, where);
      }
    };
  return { report, around };
}
