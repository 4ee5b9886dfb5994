/**
 * Handles errors that no code caught: bugs of the server. An uncaught exception ends
 * the server in order. An unhandled rejection is only logged, because it is not a
 * reason to end all kernels.
 */
import type { Log } from "../log/log.ts";

/** Calls `listener` for each uncaught exception, until the result is disposed. */
export function onUncaughtError(
  log: Log,
  listener: (error: unknown) => void,
): Disposable {
  const uncaught = (error: unknown) => {
    log.fatal(
      { err: error },
      "The server ends because of a bug in Kallichore; please report it",
    );
    listener(error);
  };
  const unhandled = (error: unknown) => {
    log.error(
      { err: error },
      "A bug in Kallichore: a failure was not handled; please report it",
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
