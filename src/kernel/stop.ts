/**
 * Stops a kernel: asks it to shut down, terminates it, kills it. Each step has a timeout; the
 * steps end when the kernel does.
 */
import type { Exit } from "../host/exit.ts";
import { within } from "../time/within.ts";

/** The methods of a kernel that the steps use. */
export interface Stoppable {
  readonly exited: Promise<Exit>;
  askToShutDown(): void | Promise<void>;
  terminate(): Promise<void>;
  forceKill(): Promise<void>;
}

/** The steps to end a kernel, in order, each with its timeout. */
const steps = [
  { timeout_ms: 5_000, step: (kernel: Stoppable) => kernel.askToShutDown() }, // ipykernel first ends its own children, in steps
  { timeout_ms: 2_000, step: (kernel: Stoppable) => kernel.terminate() },
  { timeout_ms: 5_000, step: (kernel: Stoppable) => kernel.forceKill() },
] as const;

/** The time of all steps together. A stop takes longer only if the system cannot end the process. */
export const LONGEST_STOP_MS = steps.reduce(
  (sum, { timeout_ms }) => sum + timeout_ms,
  0,
);

/** Resolves with the exit, or `undefined` if the kernel still runs after the last step. */
export async function stop(kernel: Stoppable): Promise<Exit | undefined> {
  for (const { timeout_ms, step } of steps) {
    await step(kernel);
    const exit = await within(kernel.exited, timeout_ms);
    if (exit !== undefined) return exit;
  }
  return undefined;
}
