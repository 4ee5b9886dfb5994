/**
 * Where callbacks of ours stop that the event loop calls: what one of them
 * throws is a bug of ours, which is told and counted, and ends nobody's
 * process.
 */
import type { Log } from "./log.ts";

/** Told of every bug of ours that was caught. */
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
  /** A callback that does not throw. `where` says in the log whose it is. */
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
