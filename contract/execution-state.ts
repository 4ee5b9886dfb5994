/** Where an execution is, and why it ended there. */
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
    "`queued` until it is sent to the kernel; `running` from then on; `waiting_for_input` while the kernel asks; then one of four ends: `done`, `failed` (the code raised), `aborted` (it never ran, or its kernel went away), `interrupted`",
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
