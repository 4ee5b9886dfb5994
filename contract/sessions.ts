/** The operations on sessions. */
import * as z from "zod";
import { AdoptedConnection } from "./adopted-connection.ts";
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
import { MissingOutputs, Output } from "./output.ts";
import { ExpectedJournal, JournalId, LastEventId } from "./journal-id.ts";
import { PolicyChange, SessionPolicy } from "./policy.ts";
import { startReasons } from "./reasons.ts";
import { InSession, SessionId } from "./session-id.ts";
import { LimitsRequest, SessionLimits } from "./session-limits.ts";
import { Snapshot } from "./snapshot.ts";
import { SessionStatus } from "./status.ts";
import { Addressable, SystemText, VariableName } from "./text.ts";

/** The output of an operation that returns no value; on REST the body is the JSON literal `null`. */
const Nothing = z.null();

export const VarAction = z
  .looseObject({
    action: z
      .enum(["replace", "append", "prepend"])
      .describe("`append` and `prepend` add no separator"),
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
    "`none`: start the program directly; `shell`: start it in a login shell; `command`, `script`: start it in the shell after this command or script",
  )
  .meta({
    id: "StartupEnvironment",
    // In generated Go clients all constants share one scope, and `SHELL` is a channel.
    "x-enum-varnames": ["NONE", "LOGIN_SHELL", "COMMAND", "SCRIPT"],
  });

/** The fields that Kallichore's clients of every version send with an `argv`. A request without one of them is refused. */
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
        "Required with `argv`. With `kernel_name`, default: a new random id",
      ),
    kernel_name: z
      .string()
      .optional()
      .describe(
        "The name of a kernelspec, which is the default for every other field",
      ),
    argv: z
      .array(SystemText)
      // Generated Java clients send `[]` for a field that is not set and cannot be null.
      .nullish()
      .describe(
        "The full command instead of a kernelspec, with `{connection_file}` in place of the path; empty for a kernel that will be adopted",
      ),
    display_name: z.string().optional(),
    language: z.string().optional(),
    username: z.string().optional(),
    input_prompt: z.string().optional(),
    continuation_prompt: z.string().optional(),
    session_mode: SessionMode.optional().describe("Default: `console`"),
    working_directory: SystemText.optional().describe(
      "`~` is expanded. Default, also if empty: the server's working directory",
    ),
    working_directory_required: z
      .boolean()
      .optional()
      .describe(
        "Refuse a working directory that cannot be used. Default: false; the kernel then starts in the server's working directory",
      ),
    notebook_uri: z.string().nullish(),
    env: z
      .array(VarAction)
      .optional()
      .describe("Applied in order, each to the result of the previous ones"),
    connection_timeout: z
      .int()
      .min(-2147483648)
      .max(2147483647)
      .nullish()
      .describe(
        "Seconds from the launch to the kernel's first answer. Default: 30",
      ),
    interrupt_mode: InterruptMode.optional(),
    protocol_version: z
      .string()
      .nullish()
      .describe("5.5 and later: the kernel registers its own ports (JEP 66)"),
    startup_environment: StartupEnvironment.optional().describe(
      "Default: as `run_in_shell` sets it",
    ),
    startup_environment_arg: SystemText.nullish(),
    run_in_shell: z
      .boolean()
      .nullish()
      .describe(
        "Older clients send this instead of `startup_environment`: true means `shell`, false or absent means `none`",
      ),
    workspace_id: z
      .string()
      .max(1024)
      .nullish()
      .describe("The client's workspace to which the session belongs"),
    labels: Labels.nullish(),
    policy: PolicyChange.nullish(),
    limits: LimitsRequest.nullish().describe(
      "What the kernel may use at most. Refused (`bad_configuration`) if it is more than the server allows",
    ),
    keep: z
      .boolean()
      .nullish()
      .describe(
        "Whether the session and its kernel outlive the server. Default: true on a server that keeps sessions. Refused if true on another server",
      ),
  })
  .superRefine((session, context) => {
    if (session.kernel_name !== undefined) return;
    if (session.argv === undefined || session.argv === null) {
      context.addIssue({
        code: "custom",
        message:
          "Give `kernel_name`, or `argv` and the fields that it requires",
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
    // Not `anyOf`: generators turn that into a union of two types without properties.
    if: requireFields("kernel_name"),
    else: requireFields("argv", ...required),
  });
export type NewSession = z.input<typeof NewSession>;

/**
 * A JSON Schema that requires these fields. OpenAPI linters demand that each
 * required property is also listed in `properties`. A required `argv` may not
 * be null.
 */
function requireFields(...required: readonly string[]) {
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
    kernel_id: z
      .string()
      .describe(
        "By which Jupyter's clients name the session's kernel: a UUID, kept when it is restarted",
      ),
    argv: z.array(z.string()),
    process_id: z
      .int()
      .optional()
      .describe("Present only while a process that this server started runs"),
    username: z.string(),
    display_name: z.string(),
    language: z.string(),
    interrupt_mode: InterruptMode,
    initial_env: z
      .record(z.string(), z.string())
      .describe(
        "The whole environment of the last start; empty in listings, which need a lower scope",
      ),
    connected: z
      .boolean()
      .describe("Whether an owner is attached to its channels"),
    started: z
      .string()
      .describe(
        "When the session was last started, or created if it was never started",
      ),
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
      .describe("As the client gave it when it created the session"),
    kernel_name: z
      .string()
      .optional()
      .describe("The kernelspec, if the session was created from one"),
    labels: Labels,
    policy: SessionPolicy,
    limits: SessionLimits,
    keep: z
      .boolean()
      .describe("Whether the session and its kernel outlive the server"),
    keeper_process_id: z
      .int()
      .optional()
      .describe("The process that holds the kernel of a session that is kept"),
    ended: z
      .string()
      .optional()
      .describe(
        "When the kernel ended. Present only while the session has none, after it had one",
      ),
    detached: z
      .string()
      .optional()
      .describe(
        "Since when no client has been attached: not before the start of the server, unless the kernel had ended. Present only while no client is",
      ),
    last_seq: z
      .int()
      .describe("The newest number in the session's journal; 0 if it is empty"),
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
        "Refuse a working directory that cannot be used, and do not restart. Default: false; such a directory is then ignored",
      ),
    env: z
      .array(VarAction)
      .nullish()
      .describe("If not empty, permanently replaces the session's actions"),
  })
  .meta({ id: "RestartSession" });

export const ExecuteRequest = z.looseObject({
  session_id: SessionId,
  code: z.string(),
  silent: z.boolean().optional(),
  store_history: z.boolean().optional(),
  stop_on_error: z.boolean().optional().describe("Default: true"),
  timeout_ms: z
    .int()
    .positive()
    .max(86_400_000)
    .optional()
    .describe(
      "The time that the code may take, counted from now and including the wait in the queue. After it, the execution is interrupted or leaves the queue, and the answer's status is `timeout`. Default: no timeout",
    ),
  timeout_seconds: z
    .int()
    .positive()
    .max(86_400)
    .nullish()
    .describe(
      "The same as Kallichore names it: after this time, the answer is the failure `execution_timeout`",
    ),
  metadata: z.record(z.string(), z.unknown()).optional(),
});

const Traceback = z.array(z.string());
const TextByMimeType = z
  .record(z.string(), z.string())
  .describe("By MIME type; a value that is not text is encoded as JSON");

/** The outputs once more, in Kallichore's format. */
const KallichoreOutputs = {
  output: z
    .array(
      z
        .looseObject({
          type: z.enum(["stream", "display_data", "error"]),
          stream_name: z.string().optional(),
          text: z.string().optional(),
          data: TextByMimeType.optional(),
          metadata: z.record(z.string(), z.unknown()).optional(),
          error_name: z.string().optional(),
          error_message: z.string().optional(),
          error_traceback: Traceback.optional(),
        })
        .meta({ id: "ExecuteOutput" }),
    )
    .describe(
      "`outputs` in Kallichore's format, without the result; long outputs are clipped so that they fit into 1 MiB together with `data`",
    ),
  data: TextByMimeType.optional().describe(
    "The result, if there is one, without the formats that do not fit",
  ),
  output_is_clipped: z
    .boolean()
    .describe(
      "Whether `output` or `data` lacks a long part that `outputs` has",
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
    ...MissingOutputs,
    ...KallichoreOutputs,
  })
  .meta({ id: "ExecuteAnswer" });

const portsAndKey = [
  ...["control_port", "shell_port", "stdin_port", "hb_port", "iopub_port"],
  ...["key", "ip"],
];

/** A kernel's connection, or the name of the file that has it. */
const AdoptRequest = AdoptedConnection.partial()
  .extend({
    session_id: SessionId,
    connection_file: SystemText.max(255)
      .optional()
      .describe(
        "Instead of all other fields: the name of a connection file in Jupyter's runtime directory, or the kernel's id in that name",
      ),
  })
  .superRefine((adopted, context) => {
    if (adopted.connection_file !== undefined) return;
    const { issues = [] } = AdoptedConnection.safeParse(adopted).error ?? {};
    for (const { path, message } of issues) {
      context.addIssue({ code: "custom", message, path: [...path] });
    }
  })
  .meta({
    if: requireFields("connection_file"),
    else: {
      required: portsAndKey,
      // Linters demand that all members of an example are listed.
      properties: Object.fromEntries(
        [...portsAndKey, "signature_scheme", "transport"].map((name) => [
          name,
          true,
        ]),
      ),
    },
  });

const sessionErrors = ["session_not_found"] as const;
export const sessions = {
  list: query({
    route: "GET /sessions",
    summary: "List sessions",
    access: "observe",
    description: "The sessions in the order of their creation.",
    input: z.object({ label: LabelFilter }).optional(),
    output: SessionList,
  }),

  create: mutation({
    route: "PUT /sessions",
    summary: "Create a session",
    access: "control",
    description:
      "Creates a record only: no process runs until the session is started. The session is created from a kernelspec (`kernel_name`) or from a full command (`argv`).",
    input: NewSession,
    output: z.object({ session_id: SessionId }).meta({ id: "CreatedSession" }),
    errors: [
      "session_exists",
      "program_not_found",
      "kernelspec_not_found",
      "bad_kernelspec",
      "bad_configuration",
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
    errors: sessionErrors,
  }),

  set_labels: mutation({
    route: "PUT /sessions/{session_id}/labels",
    summary: "Label a session",
    access: "control",
    description:
      "Replaces all labels of the session, and answers with the new ones.",
    input: InSession.extend({ labels: Labels }),
    output: Labels,
    errors: sessionErrors,
    examples: {
      input: { labels: { team: "stats", "example.org/run": "42" } },
      output: { team: "stats", "example.org/run": "42" },
    },
  }),

  set_policy: mutation({
    route: "PUT /sessions/{session_id}/policy",
    summary: "Set when a session's kernel is culled or started again",
    access: "control",
    description:
      "A field that is not given keeps its value. Answers with the whole policy. A kernel that has been idle for longer than a new `cull_idle_timeout` is shut down at once.",
    input: PolicyChange.extend({ session_id: SessionId }),
    output: SessionPolicy,
    errors: sessionErrors,
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

  set_limits: mutation({
    route: "PUT /sessions/{session_id}/limits",
    summary: "Set what a session's kernel may use",
    access: "control",
    description:
      "A field that is not given keeps its value; `null` stands for the server's own limit. Answers with all limits. A kernel that runs has the new limits at once: one that has run for longer is shut down, and one that uses more memory is killed. If one of the limits cannot be changed while the kernel runs, none is (`bad_configuration`).",
    input: LimitsRequest.extend({ session_id: SessionId }),
    output: SessionLimits,
    errors: [...sessionErrors, "bad_configuration", "kernel_unreachable"],
    examples: {
      input: { memory_bytes: 4_294_967_296, run_time_s: null },
      output: { memory_bytes: 4_294_967_296, cpus: null, run_time_s: null },
    },
  }),

  delete: mutation({
    route: "DELETE /sessions/{session_id}",
    summary: "Delete a session",
    access: "control",
    description:
      "Possible if the session has no running kernel: it was never started, its start failed, or its kernel exited.",
    input: InSession,
    output: Nothing,
    errors: [...sessionErrors, "session_running"],
  }),

  /** Resolves when the kernel has answered, not already when its process was spawned. */
  start: mutation({
    route: "POST /sessions/{session_id}/start",
    summary: "Start a session",
    access: "control",
    description:
      "Launches the kernel, waits until it is ready, and answers with its `kernel_info_reply`.",
    input: InSession,
    output: KernelInfo,
    errors: [
      ...sessionErrors,
      "session_running",
      "shutting_down",
      "resource_limit",
      ...startReasons,
    ],
    failure: "startup",
  }),

  restart: mutation({
    route: "POST /sessions/{session_id}/restart",
    summary: "Restart a session",
    access: "control",
    description:
      "Shuts the kernel down, kills it if it does not exit, and starts a new one in the same session. A session without a kernel is started.",
    input: RestartSession.extend({ session_id: SessionId }),
    output: Nothing,
    errors: [
      ...sessionErrors,
      "bad_working_directory",
      "restart_failed",
      "shutting_down",
      "resource_limit",
      ...startReasons,
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
    summary: "Interrupt the running code",
    access: "execute",
    input: InSession,
    output: Nothing,
    errors: [...sessionErrors, "interrupt_failed"],
  }),

  shutdown: mutation({
    route: "POST /sessions/{session_id}/shutdown",
    summary: "Shut the kernel down",
    access: "control",
    description:
      "Sends `shutdown_request`, then SIGTERM, then SIGKILL, until the kernel exits, and answers when it has exited. The session remains.",
    input: InSession,
    output: Nothing,
    errors: [...sessionErrors, "session_not_running"],
  }),

  kill: mutation({
    route: "POST /sessions/{session_id}/kill",
    summary: "Kill the kernel",
    access: "control",
    description:
      "Kills the kernel's whole process tree without a shutdown request. Answers at once.",
    input: InSession,
    output: Nothing,
    errors: [
      ...sessionErrors,
      "session_not_running",
      "no_process",
      "process_not_found",
    ],
  }),

  adopt: mutation({
    route: "PUT /sessions/{session_id}/adopt",
    summary: "Adopt a running kernel",
    access: "admin",
    description:
      "Connects to a kernel that this server did not start, with that kernel's key. The request has the kernel's connection, or `connection_file` names a file in Jupyter's runtime directory. `GET /external_kernels` lists these.",
    input: AdoptRequest,
    output: KernelInfo,
    errors: [
      ...sessionErrors,
      "session_running",
      "connection_failed",
      "connection_timeout",
      "connection_file_not_found",
      "shutting_down",
      "resource_limit",
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
    summary: "Get the kernel's connection information",
    access: "admin",
    description:
      "The connection information of the running kernel. If there is none, it is reserved for the next kernel.",
    input: InSession,
    output: ConnectionInfo,
    errors: [...sessionErrors, "no_connection_info"],
  }),

  send: mutation({
    route: "POST /sessions/{session_id}/messages",
    summary: "Send a message to the kernel",
    access: "as_message",
    description:
      "Keeps the order per channel. A message whose `msg_id` was accepted before is not sent again. A message that arrives before the kernel is ready waits for it.",
    input: ClientMessage.extend({
      session_id: SessionId,
      journal_id: ExpectedJournal.optional(),
    }),
    output: z
      .object({
        msg_id: z.string(),
        repeated: z
          .boolean()
          .describe("Whether this `msg_id` was accepted before"),
      })
      .meta({ id: "Accepted" }),
    status: 202,
    errors: [
      ...sessionErrors,
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
    summary: "Send a request to the kernel and wait for its reply",
    access: "as_message",
    description:
      "For every request that the kernel answers with one reply: `complete_request`, `inspect_request`, `is_complete_request`, `history_request`, `comm_info_request`, `kernel_info_request`.",
    input: z.looseObject({
      session_id: SessionId,
      msg_type: z.string().regex(/_request$/, "does not end in `_request`"),
      content: z.record(z.string(), z.unknown()).default({}),
      channel: z.enum(["shell", "control"]).default("shell"),
      timeout_ms: z
        .int()
        .positive()
        .max(3_600_000)
        .default(10_000)
        .describe("In milliseconds"),
    }),
    output: JupyterEvent,
    errors: [
      ...sessionErrors,
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
    summary: "Run code and wait until it ends",
    access: "execute",
    description:
      "A synchronous execution: collects the outputs until the code ends. `input()` is not allowed, because no client can answer it here.",
    input: ExecuteRequest,
    output: ExecuteAnswer,
    errors: [
      ...sessionErrors,
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
    summary: "Get the current state of a session",
    access: "observe",
    description:
      "The state instead of the history, for a reader that joins late: the running execution, the open input request, the displays and the open comms. Follow `events` after its `seq` to receive every later event exactly once.",
    input: InSession,
    output: Snapshot,
    errors: sessionErrors,
  }),

  history: query({
    route: "GET /sessions/{session_id}/history",
    summary: "Get the execution history of a session",
    access: "observe",
    description:
      "The last 100 executions that were sent to a kernel and were not `silent`, oldest first, each with its output, clipped. Restarts of the kernel keep the history. The full outputs of an execution are in `outputs`.",
    input: InSession,
    output: z.array(ExecutionHistoryEntry),
    errors: sessionErrors,
    examples: { output: historyExample },
  }),

  /** The kept events after `lastEventId`, then new events as they occur. */
  events: subscription({
    route: "GET /sessions/{session_id}/events",
    summary: "Follow the events of a session",
    access: "observe",
    description:
      "All events in order, from the oldest that is kept or after `lastEventId`, then live. On REST, `lastEventId` is the query parameter or the header `Last-Event-ID`; the header, which an `EventSource` sends when it reconnects, takes precedence. A follower never displaces another client.",
    input: z.object({
      session_id: SessionId,
      lastEventId: LastEventId.nullish(),
    }),
    output: SessionEvent,
    errors: sessionErrors,
  }),
};
