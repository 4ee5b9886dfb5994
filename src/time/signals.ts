/**
 * One signal out of several, and one with a time: like `AbortSignal.any` and
 * `AbortSignal.timeout`, which hold each other so weakly that Node may collect
 * a deadline that somebody still waits for.
 *
 * Dispose of it when the wait is over; a long-lived source then keeps no
 * listener of ours.
 */
import { once, setMaxListeners } from "node:events";

/** A timer that is set for longer fires at once. */
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
    const late = () =>
      controller.abort(new DOMException("Time is up", "TimeoutError"));
    timer = setTimeout(late, Math.min(timeout_ms, LONGEST_MS));
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

/** Lets any number wait for it, without Node's warning at the eleventh. */
export function expectMany(signal: AbortSignal): void {
  try {
    setMaxListeners(0, signal);
  } catch {
    // A signal of another make, such as a test environment's, never warns.
  }
}

/** Resolves when it aborts. */
export async function untilAborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

/** Rejects with the signal's reason when it aborts. Race it; when it loses, nobody waits for it. */
export function rejectOnAbort(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const abort = () => reject(signal.reason as Error);
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort, { once: true });
  });
}
