/**
 * The execution operations. An execution is code that a client sent to a
 * session. Every client that knows its id can read it, follow it, answer its
 * input requests and end it.
 */
import * as z from "zod";
import {
  ExecutionId,
  ExecutionReason,
  ExecutionState,
} from "./execution-state.ts";
import { JupyterEvent, SessionEvent, ShownCode } from "./messages.ts";
import { mutation, query, subscription } from "./operation.ts";
import { MissingOutputs, Output } from "./output.ts";
import { ExpectedJournal, LastEventId } from "./journal-id.ts";
import { Addressable } from "./text.ts";
import { InSession, SessionId } from "./session-id.ts";

export const RequestingClient = z
  .object({
    client: z.string().describe("The name that the client gave"),
    version: z.string().nullable(),
  })
  .meta({ id: "RequestingClient" });
export type RequestingClient = z.infer<typeof RequestingClient>;

const time = z.string().describe("ISO 8601");

export const Execution = z
  .object({
    execution_id: ExecutionId,
    session_id: SessionId,
    state: ExecutionState,
    reason: ExecutionReason.nullable().describe(
      "Why the execution was aborted or interrupted, if the server or the kernel's end did it",
    ),
    ...ShownCode.shape,
    metadata: z
      .record(z.string(), z.unknown())
      .describe("The request's metadata"),
    metadata_is_left_out: z
      .boolean()
      .describe(
        "Whether the request's metadata are larger than 1 MiB, or in listings larger than 16 KiB: then `metadata` is empty",
      ),
    queued_at: time,
    started_at: time
      .nullable()
      .describe("When the code was sent to the kernel"),
    ended_at: time.nullable(),
    deadline_ms: z.int().nullable().describe("Counted from `queued_at`"),
    execution_count: z.int().nullable(),
    reply: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe(
        "The content of the kernel's reply; if that is larger than 64 KiB, only `status`, `execution_count`, `ename` and `evalue`; null until the reply arrives",
      ),
    first_seq: z
      .int()
      .nullable()
      .describe("The number of the execution's first entry in the journal"),
    last_seq: z
      .int()
      .nullable()
      .describe(
        "The number of its last entry so far. After its end: that of its last `execution` event, or of a later output, such as that of a thread",
      ),
    counts: z
      .record(z.string(), z.int())
      .describe("The number of its outputs, by `msg_type`"),
    output_bytes: z.int().describe("The size of these outputs in all"),
    input_request: JupyterEvent.nullable().describe(
      "The input request that waits for an answer",
    ),
    requested_by: RequestingClient.nullable().describe(
      "The program that requested the execution, if it gave its name",
    ),
  })
  .meta({ id: "Execution" });
export type Execution = z.infer<typeof Execution>;

const InExecution = InSession.extend({ execution_id: ExecutionId });

const executionErrors = ["session_not_found", "execution_not_found"] as const;

export const executions = {
  create: mutation({
    route: "POST /sessions/{session_id}/executions",
    summary: "Run code",
    access: "execute",
    description:
      "Answers at once. The execution continues when clients disconnect. Code that is sent before the kernel is ready waits for it. Choose the `execution_id` yourself to make the request safe to repeat: if the id is known, the answer is that execution, and nothing runs twice.",
    input: InSession.extend({
      code: z.string(),
      journal_id: ExpectedJournal.optional(),
      execution_id: Addressable.max(255)
        .optional()
        .describe("The `msg_id` of its `execute_request`"),
      silent: z.boolean().default(false),
      store_history: z
        .boolean()
        .optional()
        .describe("Default: false with `silent`, else true"),
      stop_on_error: z
        .boolean()
        .default(true)
        .describe(
          "Whether the requests that wait in the queue are dropped if this one fails",
        ),
      allow_stdin: z
        .boolean()
        .default(true)
        .describe(
          "Whether the code may request input; answer with the operation `answer`",
        ),
      user_expressions: z.record(z.string(), z.unknown()).default({}),
      metadata: z.record(z.string(), z.unknown()).default({}),
      deadline_ms: z
        .int()
        .positive()
        .max(86_400_000)
        .optional()
        .describe(
          "Counted from now, including the wait in the queue. After it, the execution is interrupted or leaves the queue. Default: no deadline",
        ),
    }),
    output: Execution,
    status: 201,
    errors: [
      ...executionErrors,
      "kernel_unreachable",
      "too_busy",
      "session_replaced",
    ],
    examples: { input: { code: "6 * 7" } },
  }),

  list: query({
    route: "GET /sessions/{session_id}/executions",
    summary: "List executions",
    access: "observe",
    description:
      "The executions that wait or run, and the last hundred that have ended, in the order in which they were accepted, from all clients and all protocols. Long code is clipped. Large metadata and all replies are left out.",
    input: InSession,
    output: z
      .object({
        executions: z.array(Execution),
        forgotten: z
          .int()
          .describe("The number of executions that are no longer kept"),
      })
      .meta({ id: "ExecutionList" }),
    errors: ["session_not_found"],
  }),

  get: query({
    route: "GET /sessions/{session_id}/executions/{execution_id}",
    summary: "Describe an execution",
    access: "observe",
    input: InExecution,
    output: Execution,
    errors: executionErrors,
  }),

  /** Ends when the execution has ended. */
  follow: subscription({
    route: "GET /sessions/{session_id}/executions/{execution_id}/events",
    summary: "Follow the events of an execution",
    access: "observe",
    description:
      "All events in order, from the execution's beginning or after `lastEventId`. The last event is an `execution` with the final `state`; then the stream ends. The numbers are those of the session's journal.",
    input: InExecution.extend({
      lastEventId: LastEventId.nullish(),
    }),
    output: SessionEvent,
    errors: executionErrors,
  }),

  outputs: query({
    route: "GET /sessions/{session_id}/executions/{execution_id}/outputs",
    summary: "Get the outputs of an execution so far, in the notebook format",
    access: "observe",
    input: InExecution,
    output: z
      .object({
        execution_id: ExecutionId,
        state: ExecutionState,
        outputs: z.array(Output),
        ...MissingOutputs,
      })
      .meta({ id: "ExecutionOutputs" }),
    errors: executionErrors,
  }),

  answer: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/input",
    summary: "Answer the input request of an execution",
    access: "execute",
    description:
      "Choose an `answer_id` to make the request safe to repeat: an answer whose id was accepted before is not sent twice.",
    input: InExecution.extend({
      value: z.string(),
      input_request_id: z
        .string()
        .optional()
        .describe(
          "The `msg_id` of the input request that this answers; refused if another input request is open now",
        ),
      answer_id: z
        .string()
        .min(1)
        .max(255)
        .optional()
        .describe("The `msg_id` of the `input_reply`"),
    }),
    output: Execution,
    errors: [...executionErrors, "execution_state", "kernel_unreachable"],
    examples: { input: { value: "yes" } },
  }),

  cancel: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/cancel",
    summary: "Take an execution out of the queue",
    access: "execute",
    description:
      "Possible while it is `queued`: its state becomes `aborted`, and its code is never sent to the kernel.",
    input: InExecution,
    output: Execution,
    errors: [...executionErrors, "execution_state"],
  }),

  interrupt: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/interrupt",
    summary: "Interrupt an execution",
    access: "execute",
    description:
      "Possible while it runs or waits for input. The requests after it are dropped only if it fails because of the interrupt and has `stop_on_error`.",
    input: InExecution,
    output: Execution,
    errors: [...executionErrors, "execution_state", "interrupt_failed"],
  }),

  wait: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/wait",
    summary: "Wait for the end of an execution",
    access: "observe",
    description:
      "Answers when the execution has ended or the timeout has passed: see its `state`.",
    input: InExecution.extend({
      timeout_ms: z.int().nonnegative().max(3_600_000).default(30_000),
    }),
    output: Execution,
    errors: executionErrors,
    examples: { input: { timeout_ms: 10_000 } },
  }),
};
