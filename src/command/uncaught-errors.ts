/**
 * Handles errors that no code caught: bugs of the server. An uncaught exception ends
 * the server in order. An unhandled rejection is only logged, because it is not a
 * reason to end all kernels.
 */
import type { Log } from "../log/log.ts";

/** Calls `broken` for each uncaught exception, until it is disposed of. */
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
