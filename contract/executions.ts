/**
 * The execution operations: code that was given to a session, as a thing that
 * can be looked at, followed, answered and ended by whoever knows its id.
 */
import * as z from "zod";
import {
  ExecutionId,
  ExecutionReason,
  ExecutionState,
} from "./execution-state.ts";
import { JupyterEvent, SessionEvent, ShownCode } from "./messages.ts";
import { mutation, query, subscription } from "./operation.ts";
import { missing, Output } from "./output.ts";
import { ExpectedJournal, LastEventId } from "./journal-id.ts";
import { Addressable } from "./text.ts";
import { InSession, SessionId } from "./session-id.ts";

export const RequestingClient = z
  .object({
    client: z.string().describe("Its name, as it says itself"),
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
      "Why it was aborted or interrupted, where that was our doing or the kernel's end",
    ),
    ...ShownCode.shape,
    metadata: z.record(z.string(), z.unknown()).describe("Of the request"),
    metadata_is_left_out: z
      .boolean()
      .describe(
        "The request's metadata have more than 1 MiB, or in listings more than 16 KiB: then `metadata` is empty",
      ),
    queued_at: time,
    started_at: time.nullable().describe("When it was sent to the kernel"),
    ended_at: time.nullable(),
    deadline_ms: z.int().nullable().describe("From `queued_at` on"),
    execution_count: z.int().nullable(),
    reply: z
      .record(z.string(), z.unknown())
      .nullable()
      .describe(
        "The content of its reply; of one larger than 64 KiB only `status`, `execution_count`, `ename` and `evalue`; null until it came",
      ),
    first_seq: z
      .int()
      .nullable()
      .describe("The first number in the journal that it caused"),
    last_seq: z
      .int()
      .nullable()
      .describe(
        "The last such number so far: once it is over that of its last event `execution`, or of what it said later still, as a thread may",
      ),
    counts: z
      .record(z.string(), z.int())
      .describe("How many outputs of each type it has made, by `msg_type`"),
    output_bytes: z.int().describe("What these outputs came to"),
    input_request: JupyterEvent.nullable().describe(
      "What it asks, while it waits for an answer",
    ),
    requested_by: RequestingClient.nullable().describe(
      "The program that asked for it, where that says what it is",
    ),
  })
  .meta({ id: "Execution" });
export type Execution = z.infer<typeof Execution>;

const InExecution = InSession.extend({ execution_id: ExecutionId });

const anyExecution = ["session_not_found", "execution_not_found"] as const;

export const executions = {
  create: mutation({
    route: "POST /sessions/{session_id}/executions",
    summary: "Run code",
    access: "execute",
    description:
      "Answers at once. The execution goes on whoever leaves. What is asked for before the kernel is up waits for it. Give an `execution_id` of your own to be able to repeat yourself: an id that is known answers with that execution, and nothing is run twice.",
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
        .describe("True unless it is `silent`"),
      stop_on_error: z
        .boolean()
        .default(true)
        .describe("Whether its failure drops what waits behind it"),
      allow_stdin: z
        .boolean()
        .default(true)
        .describe("Whether it may ask; answer by `input`"),
      user_expressions: z.record(z.string(), z.unknown()).default({}),
      metadata: z.record(z.string(), z.unknown()).default({}),
      deadline_ms: z
        .int()
        .positive()
        .max(86_400_000)
        .optional()
        .describe(
          "From now on, its wait in the queue included; then it is interrupted, or leaves the queue. No bound where absent",
        ),
    }),
    output: Execution,
    status: 201,
    errors: [
      ...anyExecution,
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
      "Those that wait or run, and the last hundred that are over, in the order in which they were accepted; whoever asked for them, by whichever door. Long code is clipped; large metadata and all replies are left out.",
    input: InSession,
    output: z
      .object({
        executions: z.array(Execution),
        forgotten: z.int().describe("How many are no longer kept"),
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
    errors: anyExecution,
  }),

  /** Ends when the execution is over. */
  follow: subscription({
    route: "GET /sessions/{session_id}/executions/{execution_id}/events",
    summary: "Everything an execution says, in order",
    access: "observe",
    description:
      "From its beginning, or after `lastEventId`, to its last event, an `execution` whose `state` is how it ended; then the stream ends. The numbers are those of the session's journal.",
    input: InExecution.extend({
      lastEventId: LastEventId.nullish(),
    }),
    output: SessionEvent,
    errors: anyExecution,
  }),

  outputs: query({
    route: "GET /sessions/{session_id}/executions/{execution_id}/outputs",
    summary: "What an execution has said so far, as a notebook keeps it",
    access: "observe",
    input: InExecution,
    output: z
      .object({
        execution_id: ExecutionId,
        state: ExecutionState,
        outputs: z.array(Output),
        ...missing,
      })
      .meta({ id: "ExecutionOutputs" }),
    errors: anyExecution,
  }),

  answer: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/input",
    summary: "Answer what an execution asks",
    access: "execute",
    description:
      "Give an `answer_id` of your own to be able to repeat yourself: an answer whose id was accepted before is not given twice.",
    input: InExecution.extend({
      value: z.string(),
      input_request_id: z
        .string()
        .optional()
        .describe(
          "The `msg_id` of the question that this answers; refused where that is not what is asked now",
        ),
      answer_id: z
        .string()
        .min(1)
        .max(255)
        .optional()
        .describe("The `msg_id` of the `input_reply`"),
    }),
    output: Execution,
    errors: [...anyExecution, "execution_state", "kernel_unreachable"],
    examples: { input: { value: "yes" } },
  }),

  cancel: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/cancel",
    summary: "Take an execution out of the queue",
    access: "execute",
    description:
      "Possible while it is `queued`: it is answered as aborted and never sent to the kernel.",
    input: InExecution,
    output: Execution,
    errors: [...anyExecution, "execution_state"],
  }),

  interrupt: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/interrupt",
    summary: "Interrupt an execution",
    access: "execute",
    description:
      "Possible while it runs or asks. What waits behind it is dropped only if it fails thereby and says `stop_on_error`.",
    input: InExecution,
    output: Execution,
    errors: [...anyExecution, "execution_state", "interrupt_failed"],
  }),

  wait: mutation({
    route: "POST /sessions/{session_id}/executions/{execution_id}/wait",
    summary: "Wait for the end of an execution",
    access: "observe",
    description:
      "Answers when it is over, or when the time is up: look at its `state`.",
    input: InExecution.extend({
      timeout_ms: z.int().nonnegative().max(3_600_000).default(30_000),
    }),
    output: Execution,
    errors: anyExecution,
    examples: { input: { timeout_ms: 10_000 } },
  }),
};
