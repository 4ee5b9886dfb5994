/** Shuts down each kernel that has run for as long as its session's limit says. */
import type { Faults } from "../log/faults.ts";
import type { Hooks, Provisioner } from "./kernel.ts";

/** A timer with a longer time would fire at once. */
const LONGEST_MS = 2 ** 31 - 1;

/** The same provisioner, with limits on run time for the kernels that it launches. */
export function limitingRunTime(
  provisioner: Provisioner,
  faults: Faults,
): Provisioner {
  return {
    adopt: (...args) => provisioner.adopt(...args),
    reserve: (recipe) => provisioner.reserve(recipe),
    release: (session_id) => provisioner.release(session_id),
    acknowledge: (run_id, number) => provisioner.acknowledge?.(run_id, number),
    async launch(recipe, hooks, signal) {
      const began = performance.now();
      let limit_s = recipe.limits?.run_time_s ?? null;
      let why: string | undefined;
      let stopWaiting = () => {};
      /** Waits for the present limit. */
      let wait = () => {}; // until the kernel runs
      const watched: Hooks = {
        ...hooks,
        resized(change) {
          if (change.run_time_s !== undefined) {
            limit_s = change.run_time_s;
            wait();
          }
          hooks.resized?.(change);
        },
        exited(exit) {
          if (why === undefined) hooks.exited(exit);
          else hooks.exited({ ...exit, why, limit: "run_time" });
        },
      };
      const kernel = await provisioner.launch(recipe, watched, signal);
      wait = () => {
        stopWaiting();
        if (limit_s === null) return;
        const limit = limit_s;
        stopWaiting = at(began + limit * 1000, () => {
          why = `time_limit: it has run for ${limit} s, as long as it may`;
          kernel.stop(false).catch((error: unknown) =>
            faults.caught("A kernel could not be ended at its limit", error, {
              session: recipe.session_id,
            }),
          );
        });
      };
      wait();
      void kernel.exited.then(() => stopWaiting());
      return kernel;
    },
  };
}

/** Calls `act` at that time of the monotonic clock, until the returned function is called. */
function at(due: number, act: () => void): () => void {
  let timer: NodeJS.Timeout | undefined;
  const wait = (): void => {
    const left_ms = Math.max(0, Math.ceil(due - performance.now()));
    timer = setTimeout(
      () => (left_ms > LONGEST_MS ? wait() : act()),
      Math.min(left_ms, LONGEST_MS),
    );
    timer.unref();
  };
  wait();
  return () => clearTimeout(timer);
}
