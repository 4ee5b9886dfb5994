/** Which of an execution's states are ends. */
import type { ExecutionState } from "./execution-state.ts";

/** Whether it has ended. */
export function isOver(state: ExecutionState): boolean {
  return (
    state !== "queued" && state !== "running" && state !== "waiting_for_input"
  );
}
