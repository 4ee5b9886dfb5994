/**
 * What is left of an error that nothing of ours caught: a bug of ours. The
 * server ends by it, in order; what some promise rejects with that nobody waits
 * for is told to the log alone, since that is no reason to end everybody's
 * kernels.
 */
import type { Log } from "../log/log.ts";

/** Calls `broken` when an error has reached nobody, until it is disposed. */
export function onUncaughtError(
  log: Log,
  broken: (error: unknown) => void,
): Disposable {
  const uncaught = (error: unknown) => {
    log.fatal(
      { err: error },
      "The server ends because of a bug of ours; please report it",
    );
    broken(error);
  };
  const unhandled = (error: unknown) => {
    log.error(
      { err: error },
      "A bug of ours: nobody waited for something that failed; please report it",
    );
  };
  process.on("uncaughtException", uncaught);
  process.on("unhandledRejection", unhandled);
  return {
    [Symbol.dispose]() {
      process.off("uncaughtException", uncaught);
      process.off("unhandledRejection", unhandled);
    },
  };
}
