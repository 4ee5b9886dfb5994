/** Which states of an execution are final. */
import type { ExecutionState } from "./execution-state.ts";

/** Whether an execution in this state has ended. */
export function isOver(state: ExecutionState): boolean {
  return (
    state !== "queued" && state !== "running" && state !== "waiting_for_input"
  );
}
