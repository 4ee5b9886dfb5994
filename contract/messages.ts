/**
 * The messages and events of a session: Jupyter messages in both directions,
 * and the supervisor's own events, in one numbered stream.
 *
 * The Jupyter protocol is open: kernels and clients may add keys, and the
 * server forwards them. `contents.ts` describes the contents of messages.
 * Source: the Jupyter messaging specification 5.5.
 */
import * as z from "zod";
import {
  ExecutionId,
  ExecutionReason,
  ExecutionState,
} from "./execution-state.ts";
import { JournalId } from "./journal-id.ts";
import { SessionStatus } from "./status.ts";

export const Channel = z
  .enum(["shell", "control", "stdin", "iopub"])
  .meta({ id: "Channel" });
export type Channel = z.infer<typeof Channel>;

export const Header = z
  .looseObject({
    msg_id: z.string(),
    msg_type: z.string(),
    session: z.string().optional(),
    username: z.string().optional(),
    date: z.string().optional().describe("ISO 8601; some kernels omit it"),
    version: z.string().optional(),
    subshell_id: z.string().nullish(),
  })
  .meta({ id: "Header" });
export type Header = z.infer<typeof Header>;

/** Standard alphabet, padded. */
const Base64 = z.string().describe("One binary buffer, as base64");

const JsonObject = z.record(z.string(), z.unknown());

/** client → kernel */
export const ClientMessage = z
  .looseObject({
    channel: z.enum(["shell", "control", "stdin"]),
    header: z
      .looseObject({ msg_id: z.string().min(1), msg_type: z.string().min(1) })
      .meta({ id: "ClientHeader" })
      .describe(
        "The server fills in `session`, `username`, `date` and `version` if they are absent",
      ),
    parent_header: z.looseObject({}).nullish(),
    metadata: JsonObject.optional(),
    content: JsonObject,
    buffers: z.array(Base64).optional(),
  })
  .meta({ id: "ClientMessage" });
export type ClientMessage = z.infer<typeof ClientMessage>;

/** The position of an event in the session's journal. */
const seq = z
  .int()
  .describe(
    "Position in the session's journal: counted from 1 without gaps, never reused, continued across restarts of the kernel",
  );

/** kernel → client */
export const JupyterEvent = z
  .looseObject({
    kind: z.literal("jupyter"),
    seq,
    channel: Channel,
    header: Header,
    parent_header: Header.nullable(),
    metadata: JsonObject,
    content: JsonObject,
    buffers: z.array(Base64),
  })
  .meta({ id: "JupyterEvent" });
export type JupyterEvent = z.infer<typeof JupyterEvent>;

export const ResourceUsage = z
  .looseObject({
    cpu_percent: z
      .int()
      .describe("CPU use of the whole process tree; 100 is one full core"),
    memory_bytes: z.int().describe("Resident memory of the process tree"),
    thread_count: z.int(),
    sampling_period_ms: z.int(),
    timestamp: z.int().describe("Milliseconds since 1970"),
  })
  .meta({ id: "ResourceUsage" });
export type ResourceUsage = z.infer<typeof ResourceUsage>;

const Port = z.int().min(1).max(65_535);

export const ConnectionInfo = z
  .looseObject({
    control_port: Port,
    shell_port: Port,
    stdin_port: Port,
    hb_port: Port,
    iopub_port: Port,
    signature_scheme: z.string().default("hmac-sha256"),
    key: z.string(),
    transport: z.string().default("tcp"),
    ip: z.string(),
  })
  .meta({ id: "ConnectionInfo" });
export type ConnectionInfo = z.infer<typeof ConnectionInfo>;

export const StatusEvent = z
  .object({
    kind: z.literal("status"),
    seq,
    status: SessionStatus,
    reason: z
      .string()
      .nullable()
      .describe(
        "Why the status changed; for `busy` and `idle` the `msg_type` of the request",
      ),
  })
  .meta({ id: "StatusEvent" });

export const ExitedEvent = z
  .object({
    kind: z.literal("exited"),
    seq,
    exit_code: z.int().describe("-1 if a signal ended the process"),
    signal: z
      .string()
      .nullable()
      .describe("The signal that ended the process, such as `SIGKILL`"),
    oom: z
      .literal(true)
      .optional()
      .describe(
        "The process was killed because there was no memory left, or because it used more than its session may. Absent if the first is not known, which it is on Linux only",
      ),
    limit: z
      .enum(["memory", "run_time"])
      .optional()
      .describe("The limit of the session that has ended the kernel"),
    output: z
      .string()
      .describe("The last lines that the process wrote to standard error"),
  })
  .meta({ id: "ExitedEvent" });

export const OutputEvent = z
  .object({
    kind: z.literal("output"),
    seq,
    stream: z.enum(["stdout", "stderr"]),
    text: z.string().describe("A line of the process's own output"),
  })
  .meta({ id: "OutputEvent" });

export const ResourceUsageEvent = z
  .object({ kind: z.literal("resource_usage"), seq, usage: ResourceUsage })
  .meta({ id: "ResourceUsageEvent" });

export const WorkingDirectoryEvent = z
  .object({ kind: z.literal("working_directory"), seq, path: z.string() })
  .meta({ id: "WorkingDirectoryEvent" });

export const ExecutionStateEvent = z
  .object({
    kind: z.literal("execution"),
    seq,
    execution_id: ExecutionId,
    state: ExecutionState,
    reason: ExecutionReason.nullable().describe(
      "Why the execution was aborted or interrupted, if the server or the kernel's end did it",
    ),
    first_seq: z
      .int()
      .describe("The number of the execution's first entry in the journal"),
    last_seq: z
      .int()
      .describe("The number of its last entry so far, which is this event"),
  })
  .describe(
    "The state of an execution, from any client and protocol. Sent at most three times: `queued`, if the execution waits for others; `running`, when its code was sent to the kernel; and its final state. The final state is the last event of the execution; only later kernel messages, such as the output of a thread, may follow it",
  )
  .meta({ id: "ExecutionStateEvent" });

/** The person or program that requested an execution: `attribution` in the metadata of its request. */
export const Attribution = z
  .object({
    source: z.string().describe("The kind of caller, such as `agent`"),
    agent_name: z.string().nullable(),
    agent_version: z.string().nullable(),
    workspace_id: z.string().describe("Default: the session's; may be empty"),
    tool: z.string().describe("Default: `execute_code`"),
  })
  .meta({ id: "Attribution" });
export type Attribution = z.infer<typeof Attribution>;

/** Code, as answers and events show it. */
export const ShownCode = z.object({
  code: z
    .string()
    .describe(
      "The whole code, or only its beginning and its end if `code_is_clipped`",
    ),
  code_length: z.int().describe("Length of the whole code in UTF-16 units"),
  code_is_clipped: z
    .boolean()
    .describe(
      "Whether the code is longer than 1 MiB as JSON, or in listings longer than 8192 UTF-16 units",
    ),
});
export type ShownCode = z.infer<typeof ShownCode>;

export const ExecutionRequestedEvent = z
  .object({
    kind: z.literal("execution_requested"),
    seq,
    msg_id: z.string().describe("The `msg_id` of the execute request"),
    ...ShownCode.shape,
    requested_at: z.string().describe("ISO 8601"),
    attribution: Attribution,
  })
  .describe(
    "A person or program that the request names requests to run code. Comes before all other events of the execution",
  )
  .meta({ id: "ExecutionRequestedEvent" });

export const HandshakeEvent = z
  .object({
    kind: z.literal("handshake"),
    seq,
    session_id: z.string(),
    connection: ConnectionInfo,
  })
  .meta({ id: "HandshakeEvent" });

/** The facts about a message that the server refused. */
export const Refused = z
  .object({
    msg_type: z.string().nullable(),
    reason: z
      .enum(["not_json", "too_deep", "too_large"])
      .describe(
        "`not_json`: a frame is not one JSON value; `too_deep`: its arrays and objects are nested too deep; `too_large`: the message is larger than the server accepts",
      ),
    size: z.int().describe("Size of the message in bytes"),
  })
  .meta({ id: "Refused" });
export type Refused = z.infer<typeof Refused>;

export const RefusedEvent = z
  .object({
    kind: z.literal("refused"),
    seq,
    channel: Channel.describe(
      "The channel on which the kernel sent the message",
    ),
    ...Refused.shape,
    parent_id: z
      .string()
      .nullable()
      .describe("The `msg_id` of the request that the message answered"),
  })
  .describe(
    "The kernel sent a message that the server could not accept: none of its content is in the journal",
  )
  .meta({ id: "RefusedEvent" });

export const GapEvent = z
  .object({
    kind: z.literal("gap"),
    seq,
    from: z.int().describe("The first number that is no longer kept"),
    to: z.int().describe("The last number that is no longer kept"),
  })
  .describe(
    "Some requested events are no longer kept: those from `from` to `to`",
  )
  .meta({ id: "GapEvent" });

export const JournalEvent = z
  .object({
    kind: z.literal("journal"),
    seq: z.literal(0),
    journal_id: JournalId,
    previous_journal_id: z
      .string()
      .describe("The journal that the reader named"),
  })
  .describe(
    "The session has another journal than the one that the reader named. The present journal follows from its beginning. This event is in no journal",
  )
  .meta({ id: "JournalEvent" });

/** Every event of a session. Switch on `kind`. */
export const SessionEvent = z
  .discriminatedUnion("kind", [
    JupyterEvent,
    StatusEvent,
    ExitedEvent,
    OutputEvent,
    ResourceUsageEvent,
    WorkingDirectoryEvent,
    ExecutionStateEvent,
    ExecutionRequestedEvent,
    HandshakeEvent,
    RefusedEvent,
    GapEvent,
    JournalEvent,
  ])
  .meta({ id: "SessionEvent" });
export type SessionEvent = z.infer<typeof SessionEvent>;
/** An event of the supervisor itself, before it has a number. */
export type OwnEvent = DistributiveOmit<
  Exclude<SessionEvent, { kind: "jupyter" | "gap" | "journal" }>,
  "seq"
>;
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown
  ? Omit<T, K>
  : never;

/** A value in several formats, by MIME type. JSON types hold JSON values; binary types hold base64. */
export const MimeBundle = z
  .record(z.string(), z.unknown())
  .meta({ id: "MimeBundle" });
export type MimeBundle = z.infer<typeof MimeBundle>;
