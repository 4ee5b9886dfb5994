/**
 * Combines abort signals and a timeout, like `AbortSignal.any` and
 * `AbortSignal.timeout`. Those reference each other only weakly, so Node may
 * collect a deadline while code still waits for it.
 *
 * Dispose the result when the wait is over; this removes the listeners from
 * long-lived sources.
 */
import { once, setMaxListeners } from "node:events";

/** A timer with a longer time would fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** Aborts with the first source's reason, or after `timeout_ms` with a `TimeoutError`. */
export function deadline(
  sources: readonly AbortSignal[],
  timeout_ms?: number,
): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const forward = ({ target }: Event) =>
    controller.abort((target as AbortSignal).reason);
  for (const source of sources) {
    if (source.aborted) controller.abort(source.reason);
    else source.addEventListener("abort", forward, { once: true });
  }
  let timer: NodeJS.Timeout | undefined;
  if (timeout_ms !== undefined) {
    const expire = () =>
      controller.abort(new DOMException("The time is up", "TimeoutError"));
    timer = setTimeout(expire, Math.min(timeout_ms, LONGEST_MS));
  }
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      clearTimeout(timer);
      for (const source of sources) {
        source.removeEventListener("abort", forward);
      }
    },
  };
}

/** Allows any number of listeners. Otherwise Node warns at the eleventh. */
export function expectMany(signal: AbortSignal): void {
  try {
    setMaxListeners(0, signal);
  } catch {
    // Signals of other implementations, such as a test environment's, never warn.
  }
}

/** Resolves when the signal aborts. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

/** Rejects with the signal's reason when it aborts. For use in `Promise.race` with other promises. */
export function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}
