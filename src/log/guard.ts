/**
 * Where callbacks of ours stop that the event loop calls: what one of them
 * throws is a bug of ours, which is told and counted, and ends nobody's
 * process.
 */
import type { Log } from "./log.ts";

/** Told of every bug of ours that was caught. */
export type FaultListener = (error: Error) => void;

export class Guard {
  readonly #log: Log;
  readonly #listener: FaultListener | undefined;

  constructor(log: Log, listener?: FaultListener) {
    this.#log = log;
    this.#listener = listener;
  }

  /** A callback that does not throw. `where` says in the log whose it is. */
  around<Given extends unknown[]>(
    where: string,
    run: (...given: Given) => void,
  ): (...given: Given) => void {
    return (...given) => {
      try {
        run(...given);
      } catch (error) {
        this.tell(error, where);
      }
    };
  }

  /** Does not throw, whatever the listener does. */
  tell(error: unknown, where: string): void {
    this.#log.error({ err: error, where }, "A bug of ours; please report it");
    try {
      const cause = error instanceof Error ? error : new Error(String(error));
      this.#listener?.(cause);
    } catch (cause) {
      this.#log.error({ err: cause }, "The listener for faults threw");
    }
  }
}
