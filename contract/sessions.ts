/** The session operations: what a client may ask of one session, or of all. */
import * as z from "zod";
import { ExecutionQueue } from "./execution-queue.ts";
import { KernelInfoReply } from "./kernel-info-reply.ts";
import { ExecutionHistoryEntry, historyExample } from "./history.ts";
import {
  ClientMessage,
  ConnectionInfo,
  JupyterEvent,
  ResourceUsage,
  SessionEvent,
} from "./messages.ts";
import { LabelFilter, Labels } from "./labels.ts";
import { mutation, query, subscription } from "./operation.ts";
import { missing, Output } from "./output.ts";
import { ExpectedJournal, JournalId, LastEventId } from "./journal-id.ts";
import { PolicyChange, SessionPolicy } from "./policy.ts";
import { InSession, SessionId } from "./session-id.ts";
import { Snapshot } from "./snapshot.ts";
import { SessionStatus } from "./status.ts";
import { Addressable, SystemText, VariableName } from "./text.ts";

/** Where a kernel really is. */
const AdoptedConnection = ConnectionInfo.extend({
  signature_scheme: z
    .string()
    .regex(
      /^hmac-(md5|sha1|sha224|sha256|sha384|sha512|sha3_(224|256|384|512)|blake2[bs])$/,
      "is not `hmac-` and a digest",
    )
    .default("hmac-sha256"),
  transport: z.enum(["tcp", "ipc"]).default("tcp"),
  ip: SystemText.min(1),
});

/** A success that has nothing to say; on REST the body is the JSON literal `null`. */
const Nothing = z.null();

export const VarAction = z
  .looseObject({
    action: z
      .enum(["replace", "append", "prepend"])
      .describe("`append` and `prepend` add no separator of their own"),
    name: VariableName,
    value: SystemText,
  })
  .meta({ id: "VarAction" });
export type VarAction = z.infer<typeof VarAction>;

export const InterruptMode = z
  .enum(["signal", "message"])
  .meta({ id: "InterruptMode" });
export const SessionMode = z
  .enum(["console", "notebook", "background"])
  .meta({ id: "SessionMode" });
export const StartupEnvironment = z
  .enum(["none", "shell", "command", "script"])
  .describe(
    "`none`: the program directly; `shell`: in a login shell; `command`, `script`: after that command or script has run in the shell",
  )
  .meta({
    id: "StartupEnvironment",
    // In generated Go clients all constants share one scope, and `SHELL` is a channel.
    "x-enum-varnames": ["NONE", "LOGIN_SHELL", "COMMAND", "SCRIPT"],
  });

/** What Kallichore's clients of every version send with an `argv`; they are told when one is missing. */
const required = [
  "session_id",
  "display_name",
  "language",
  "username",
  "input_prompt",
  "continuation_prompt",
  "working_directory",
  "env",
  "interrupt_mode",
] as const;

export const NewSession = z
  .looseObject({
    session_id: Addressable.max(1024)
      .optional()
      .describe(
        "Required with `argv`; made up where absent with `kernel_name`",
      ),
    kernel_name: z
      .string()
      .optional()
      .describe("A kernelspec: everything else is taken from it where absent"),
    argv: z
      .array(SystemText)
      // Generated Java clients send `[]` for what was not set and cannot be null.
      .nullish()
      .describe(
        "The full command instead of a kernelspec, with `{connection_file}` where the path belongs; empty for a kernel to be adopted",
      ),
    display_name: z.string().optional(),
    language: z.string().optional(),
    username: z.string().optional(),
    input_prompt: z.string().optional(),
    continuation_prompt: z.string().optional(),
    session_mode: SessionMode.optional().describe("`console` where absent"),
    working_directory: SystemText.optional().describe(
      "`~` is expanded; empty or absent: the server's own",
    ),
    working_directory_required: z
      .boolean()
      .optional()
      .describe(
        "Refuse a working directory that cannot be used. Default: false, the kernel then starts in the server's own",
      ),
    notebook_uri: z.string().nullish(),
    env: z
      .array(VarAction)
      .optional()
      .describe("Applied in order, each to the result of those before it"),
    connection_timeout: z
      .int()
      .min(-2147483648)
      .max(2147483647)
      .nullish()
      .describe("Seconds from the launch to the first answer; 30 where absent"),
    interrupt_mode: InterruptMode.optional(),
    protocol_version: z
      .string()
      .nullish()
      .describe("5.5 and later: the kernel registers its own ports (JEP 66)"),
    startup_environment: StartupEnvironment.optional().describe(
      "Where absent, what `run_in_shell` says",
    ),
    startup_environment_arg: SystemText.nullish(),
    run_in_shell: z
      .boolean()
      .nullish()
      .describe(
        "Older clients' word for `startup_environment`: true is `shell`, false or absent `none`",
      ),
    workspace_id: z
      .string()
      .max(1024)
      .nullish()
      .describe("The client's workspace that the session belongs to"),
    labels: Labels.nullish(),
    policy: PolicyChange.nullish(),
  })
  .superRefine((session, context) => {
    if (session.kernel_name !== undefined) return;
    if (session.argv === undefined || session.argv === null) {
      context.addIssue({
        code: "custom",
        message: "Give `kernel_name`, or `argv` and what belongs to it",
        path: ["argv"],
      });
      return;
    }
    for (const name of required) {
      if (session[name] !== undefined) continue;
      context.addIssue({
        code: "custom",
        message: `Required with \`argv\``,
        path: [name],
      });
    }
  })
  .meta({
    id: "NewSession",
    // Not `anyOf`: of that, generators make a union of two types without properties.
    if: demand("kernel_name"),
    else: demand("argv", ...required),
  });
export type NewSession = z.input<typeof NewSession>;

/**
 * JSON Schema. Linters of OpenAPI want each required property named beside;
 * an `argv` that is required is not null.
 */
function demand(...required: readonly string[]) {
  const properties = Object.fromEntries(
    required.map((name) => [name, name === "argv" ? { type: "array" } : true]),
  );
  return { properties, required };
}

export const KernelInfo = KernelInfoReply.meta({ id: "KernelInfo" });
export type KernelInfo = z.infer<typeof KernelInfo>;

export const ActiveSession = z
  .looseObject({
    session_id: SessionId,
    argv: z.array(z.string()),
    process_id: z
      .int()
      .optional()
      .describe("Only while a process of ours runs"),
    username: z.string(),
    display_name: z.string(),
    language: z.string(),
    interrupt_mode: InterruptMode,
    initial_env: z
      .record(z.string(), z.string())
      .describe(
        "The whole environment of the last start; empty in listings, which are less private",
      ),
    connected: z
      .boolean()
      .describe("Whether an owner is attached to its channels"),
    started: z.string().describe("When it was last started, else created"),
    session_mode: SessionMode,
    working_directory: z.string(),
    notebook_uri: z.string().optional(),
    input_prompt: z.string(),
    continuation_prompt: z.string(),
    execution_queue: ExecutionQueue,
    status: SessionStatus,
    kernel_info: z.record(z.string(), z.unknown()),
    resource_usage: ResourceUsage.optional(),
    idle_seconds: z.int(),
    busy_seconds: z.int(),
    socket_path: z.string().optional(),
    history: z
      .array(ExecutionHistoryEntry)
      .optional()
      .describe("The last three executions, oldest first"),
    workspace_id: z
      .string()
      .optional()
      .describe("As the client gave it when it made the session"),
    kernel_name: z
      .string()
      .optional()
      .describe("The kernelspec, where it came from one"),
    labels: Labels,
    policy: SessionPolicy,
    last_seq: z
      .int()
      .describe("The newest number in its journal; 0 before the first"),
    journal_id: JournalId,
  })
  .meta({ id: "ActiveSession" });
export type ActiveSession = z.infer<typeof ActiveSession>;

export const SessionList = z
  .object({ total: z.int(), sessions: z.array(ActiveSession) })
  .meta({ id: "SessionList" });

export const RestartSession = z
  .looseObject({
    working_directory: SystemText.nullish(),
    working_directory_required: z
      .boolean()
      .optional()
      .describe(
        "Refuse a working directory that cannot be used, and restart nothing. Default: false, it is then ignored",
      ),
    env: z
      .array(VarAction)
      .nullish()
      .describe("Where not empty, replaces the session's actions for good"),
  })
  .meta({ id: "RestartSession" });

export const ExecuteRequest = z.looseObject({
  session_id: SessionId,
  code: z.string(),
  silent: z.boolean().optional(),
  store_history: z.boolean().optional(),
  stop_on_error: z.boolean().optional().describe("True unless said"),
  timeout_ms: z
    .int()
    .positive()
    .max(86_400_000)
    .optional()
    .describe(
      "How long it may take from now on, its wait in the queue included; then it is interrupted, or leaves the queue, and the answer's status is `timeout`. As long as it takes where absent",
    ),
  timeout_seconds: z
    .int()
    .positive()
    .max(86_400)
    .nullish()
    .describe(
      "The same in Kallichore's words: when the time is up, the answer is the failure `execution_timeout`",
    ),
  metadata: z.record(z.string(), z.unknown()).optional(),
});

const Traceback = z.array(z.string());
const Texts = z
  .record(z.string(), z.string())
  .describe("By MIME type; what is no text is JSON");

/** Kallichore's words for what the code said, beside our own. */
const InKallichoresWords = {
  output: z
    .array(
      z
        .looseObject({
          type: z.enum(["stream", "display_data", "error"]),
          stream_name: z.string().optional(),
          text: z.string().optional(),
          data: Texts.optional(),
          metadata: z.record(z.string(), z.unknown()).optional(),
          error_name: z.string().optional(),
          error_message: z.string().optional(),
          error_traceback: Traceback.optional(),
        })
        .meta({ id: "ExecuteOutput" }),
    )
    .describe(
      "`outputs` as Kallichore spells them, without the result; of long ones what fits into 1 MiB together with `data`",
    ),
  data: Texts.optional().describe(
    "The result, where there is one; without what does not fit",
  ),
  output_is_clipped: z
    .boolean()
    .describe(
      "Whether `output` or `data` lacks something that `outputs` has, because it is long",
    ),
  error_name: z.string().optional(),
  error_message: z.string().optional(),
  error_traceback: Traceback.optional(),
};

export const ExecuteAnswer = z
  .looseObject({
    msg_id: z.string(),
    status: z.enum(["ok", "error", "aborted", "timeout"]),
    execution_count: z.int().nullable(),
    outputs: z.array(Output),
    timed_out: z.boolean(),
    ...missing,
    ...InKallichoresWords,
  })
  .meta({ id: "ExecuteAnswer" });

const anySession = ["session_not_found"] as const;
const startup = [
  "start_failed",
  "connection_failed",
  "connection_timeout",
  "exited_during_start",
  "exited_before_handshake",
  "handshake_failed",
] as const;

export const sessions = {
  list: query({
    route: "GET /sessions",
    summary: "List sessions",
    access: "observe",
    description: "In the order of their creation.",
    input: z.object({ label: LabelFilter }).optional(),
    output: SessionList,
  }),

  create: mutation({
    route: "PUT /sessions",
    summary: "Create a session",
    access: "control",
    description:
      "Makes a record only; nothing runs until it is started. Either from a kernelspec (`kernel_name`) or from a full command (`argv`).",
    input: NewSession,
    output: z.object({ session_id: SessionId }).meta({ id: "CreatedSession" }),
    errors: [
      "session_exists",
      "program_not_found",
      "kernelspec_not_found",
      "bad_kernelspec",
      "bad_working_directory",
      "shutting_down",
    ],
    examples: {
      input: { session_id: "a", kernel_name: "python3" },
      output: { session_id: "a" },
    },
  }),

  get: query({
    route: "GET /sessions/{session_id}",
    summary: "Describe a session",
    access: "observe",
    input: InSession,
    output: ActiveSession,
    errors: anySession,
  }),

  set_labels: mutation({
    route: "PUT /sessions/{session_id}/labels",
    summary: "Label a session",
    access: "control",
    description: "Replaces all labels that it has, and answers with them.",
    input: InSession.extend({ labels: Labels }),
    output: Labels,
    errors: anySession,
    examples: {
      input: { labels: { team: "stats", "example.org/run": "42" } },
      output: { team: "stats", "example.org/run": "42" },
    },
  }),

  set_policy: mutation({
    route: "PUT /sessions/{session_id}/policy",
    summary: "Say when its kernel is shut down, and when started again",
    access: "control",
    description:
      "What is not given stays as it is. Answers with all of it. A kernel that has been idle for longer than a new `cull_idle_timeout` is shut down at once.",
    input: PolicyChange.extend({ session_id: SessionId }),
    output: SessionPolicy,
    errors: anySession,
    examples: {
      input: {
        cull_idle_timeout: 3600,
        autorestart: { limit: 5, window_s: 60 },
      },
      output: {
        cull_idle_timeout: 3600,
        cull_connected: false,
        cull_busy: false,
        autorestart: { limit: 5, window_s: 60 },
      },
    },
  }),

  delete: mutation({
    route: "DELETE /sessions/{session_id}",
    summary: "Delete a session",
    access: "control",
    description:
      "Possible when it has no running kernel: never started, failed or exited.",
    input: InSession,
    output: Nothing,
    errors: [...anySession, "session_running"],
  }),

  /** Resolves once the kernel has answered, not merely once it was spawned. */
  start: mutation({
    route: "POST /sessions/{session_id}/start",
    summary: "Start a session",
    access: "control",
    description:
      "Launches the kernel and answers with its `kernel_info_reply` once it is there.",
    input: InSession,
    output: KernelInfo,
    errors: [...anySession, "session_running", "shutting_down", ...startup],
    failure: "startup",
  }),

  restart: mutation({
    route: "POST /sessions/{session_id}/restart",
    summary: "Restart a session",
    access: "control",
    description:
      "Stops the kernel, asking first and forcing later, and starts a new one in the same session. A session without a kernel is started.",
    input: RestartSession.extend({ session_id: SessionId }),
    output: Nothing,
    errors: [
      ...anySession,
      "bad_working_directory",
      "restart_failed",
      "shutting_down",
      ...startup,
    ],
    failure: "startup",
    examples: {
      input: {
        working_directory: "~",
        env: [{ action: "replace", name: "LANG", value: "C.UTF-8" }],
      },
    },
  }),

  interrupt: mutation({
    route: "POST /sessions/{session_id}/interrupt",
    summary: "Interrupt what is running",
    access: "execute",
    input: InSession,
    output: Nothing,
    errors: [...anySession, "interrupt_failed"],
  }),

  shutdown: mutation({
    route: "POST /sessions/{session_id}/shutdown",
    summary: "Shut the kernel down",
    access: "control",
    description:
      "Asks (`shutdown_request`), insists (SIGTERM), forces (SIGKILL), and answers when the kernel is gone. The session stays.",
    input: InSession,
    output: Nothing,
    errors: [...anySession, "session_not_running"],
  }),

  kill: mutation({
    route: "POST /sessions/{session_id}/kill",
    summary: "End the kernel without asking",
    access: "control",
    description: "Its whole process tree. Answers at once.",
    input: InSession,
    output: Nothing,
    errors: [
      ...anySession,
      "session_not_running",
      "no_process",
      "process_not_found",
    ],
  }),

  adopt: mutation({
    route: "PUT /sessions/{session_id}/adopt",
    summary: "Adopt a kernel that runs elsewhere",
    access: "admin",
    description:
      "Connects to a kernel that we did not start, signing with the key it has.",
    input: AdoptedConnection.extend({ session_id: SessionId }),
    output: KernelInfo,
    errors: [
      ...anySession,
      "session_running",
      "connection_failed",
      "connection_timeout",
      "shutting_down",
    ],
    examples: {
      input: {
        transport: "tcp",
        ip: "127.0.0.1",
        shell_port: 41641,
        iopub_port: 41642,
        stdin_port: 41643,
        control_port: 41644,
        hb_port: 41645,
        signature_scheme: "hmac-sha256",
        key: "9c1f0a2e",
      },
    },
  }),

  connection_info: query({
    route: "GET /sessions/{session_id}/connection_info",
    summary: "Where the kernel is, or will be",
    access: "admin",
    description:
      "The connection information of the running kernel, else one that is reserved for the next.",
    input: InSession,
    output: ConnectionInfo,
    errors: [...anySession, "no_connection_info"],
  }),

  send: mutation({
    route: "POST /sessions/{session_id}/messages",
    summary: "Send a message to the kernel",
    access: "as_message",
    description:
      "In order, per channel. A `msg_id` that was accepted before is not sent again. What is sent before the kernel is up waits for it.",
    input: ClientMessage.extend({
      session_id: SessionId,
      journal_id: ExpectedJournal.optional(),
    }),
    output: z
      .object({
        msg_id: z.string(),
        repeated: z
          .boolean()
          .describe("Whether this `msg_id` had been accepted before"),
      })
      .meta({ id: "Accepted" }),
    status: 202,
    errors: [
      ...anySession,
      "bad_message",
      "kernel_unreachable",
      "too_busy",
      "session_replaced",
    ],
    examples: {
      input: {
        channel: "shell",
        header: { msg_id: "5f0c", msg_type: "execute_request" },
        content: {
          code: "6 * 7",
          silent: false,
          store_history: true,
          user_expressions: {},
          allow_stdin: true,
          stop_on_error: true,
        },
      },
      output: { msg_id: "5f0c", repeated: false },
    },
  }),

  request: mutation({
    route: "POST /sessions/{session_id}/requests",
    summary: "Ask the kernel and wait for its reply",
    access: "as_message",
    description:
      "For everything with a reply of its own: `complete_request`, `inspect_request`, `is_complete_request`, `history_request`, `comm_info_request`, `kernel_info_request`.",
    input: z.looseObject({
      session_id: SessionId,
      msg_type: z.string().regex(/_request$/, "ends in `_request`"),
      content: z.record(z.string(), z.unknown()).default({}),
      channel: z.enum(["shell", "control"]).default("shell"),
      timeout_ms: z
        .int()
        .positive()
        .max(3_600_000)
        .default(10_000)
        .describe("Milliseconds"),
    }),
    output: JupyterEvent,
    errors: [
      ...anySession,
      "session_not_running",
      "kernel_unreachable",
      "no_answer",
      "kernel_exited",
      "too_busy",
      "bad_answer",
    ],
    examples: {
      input: {
        msg_type: "complete_request",
        content: { code: "pri", cursor_pos: 3 },
      },
    },
  }),

  execute: mutation({
    route: "POST /sessions/{session_id}/execute",
    summary: "Run code and wait for its end",
    access: "execute",
    description:
      "An execution, asked for synchronously: collects what the code says until it is done. There is nobody to answer `input()` here, so it is not allowed.",
    input: ExecuteRequest,
    output: ExecuteAnswer,
    errors: [
      ...anySession,
      "session_not_running",
      "kernel_unreachable",
      "kernel_exited",
      "execution_timeout",
      "too_busy",
    ],
    examples: {
      input: { code: "6 * 7" },
      output: {
        msg_id: "5f0c",
        status: "ok",
        execution_count: 1,
        outputs: [
          {
            output_type: "execute_result",
            data: { "text/plain": "42" },
            metadata: {},
            execution_count: 1,
          },
        ],
        timed_out: false,
        gaps: [],
        is_clipped: false,
        clipped: null,
        refused: [],
        output: [],
        data: { "text/plain": "42" },
        output_is_clipped: false,
      },
    },
  }),

  snapshot: query({
    route: "GET /sessions/{session_id}/snapshot",
    summary: "What is true now, for a reader who comes late",
    access: "observe",
    description:
      "State instead of history: what runs, what waits for an answer, what is shown, what is open. Follow `events` after its `seq` to miss nothing and hear nothing twice.",
    input: InSession,
    output: Snapshot,
    errors: anySession,
  }),

  history: query({
    route: "GET /sessions/{session_id}/history",
    summary: "What the session has run",
    access: "observe",
    description:
      "The last 100 executions that were sent to a kernel and not `silent`, oldest first, with what came of each, clipped. Restarts of the kernel do not empty it. The whole of an execution's output is in `outputs`.",
    input: InSession,
    output: z.array(ExecutionHistoryEntry),
    errors: anySession,
    examples: { output: historyExample },
  }),

  /** What was said after `lastEventId`, then what is being said. */
  events: subscription({
    route: "GET /sessions/{session_id}/events",
    summary: "Everything the session says, in order",
    access: "observe",
    description:
      "From the beginning of what is kept, or after `lastEventId` (on REST the query parameter, or the header `Last-Event-ID`, which an `EventSource` sends when it comes back and which is stronger), then live. Never displaces anybody.",
    input: z.object({
      session_id: SessionId,
      lastEventId: LastEventId.nullish(),
    }),
    output: SessionEvent,
    errors: anySession,
  }),
};
