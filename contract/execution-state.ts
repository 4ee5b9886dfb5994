/** The states of an execution, and the reasons for its end. */
import * as z from "zod";

export const ExecutionId = z
  .string()
  .describe("The `msg_id` of its `execute_request`");

export const ExecutionState = z
  .enum([
    "queued",
    "running",
    "waiting_for_input",
    "done",
    "failed",
    "aborted",
    "interrupted",
  ])
  .describe(
    "`queued` until the code is sent to the kernel; `running` from then on; `waiting_for_input` while the kernel waits for input; then one of four final states: `done`, `failed` (the code raised an error), `aborted` (the code never ran, or its kernel ended), `interrupted`",
  )
  .meta({ id: "ExecutionState" });
export type ExecutionState = z.infer<typeof ExecutionState>;

export const ExecutionReason = z
  .enum([
    "cancelled",
    "deadline",
    "earlier_failure",
    "interrupt",
    "kernel_exited",
    "not_sent",
    "question_refused",
    "shutdown",
    "start_failed",
  ])
  .meta({ id: "ExecutionReason" });
