/**
 * What travels on a session's channels: Jupyter messages both ways, and what
 * the supervisor itself has to say, in one numbered stream.
 *
 * The protocol is open: kernels and clients add keys, and they pass. What a
 * message contains is described in `contents.ts`.
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
    date: z.string().optional().describe("ISO 8601; some kernels leave it out"),
    version: z.string().optional(),
    subshell_id: z.string().nullish(),
  })
  .meta({ id: "Header" });
export type Header = z.infer<typeof Header>;

/** Standard alphabet, padded. */
const Base64 = z.string().describe("One binary buffer, as base64");

const Anything = z.record(z.string(), z.unknown());

/** client → kernel */
export const ClientMessage = z
  .looseObject({
    channel: z.enum(["shell", "control", "stdin"]),
    header: z
      .looseObject({ msg_id: z.string().min(1), msg_type: z.string().min(1) })
      .meta({ id: "ClientHeader" })
      .describe(
        "`session`, `username`, `date` and `version` are filled in where absent",
      ),
    parent_header: z.looseObject({}).nullish(),
    metadata: Anything.optional(),
    content: Anything,
    buffers: z.array(Base64).optional(),
  })
  .meta({ id: "ClientMessage" });
export type ClientMessage = z.infer<typeof ClientMessage>;

/** Wherever an event carries it: its place in the session's journal. */
const seq = z
  .int()
  .describe(
    "Place in the session's journal: from 1, dense, never repeated, across restarts too",
  );

/** kernel → client */
export const JupyterEvent = z
  .looseObject({
    kind: z.literal("jupyter"),
    seq,
    channel: Channel,
    header: Header,
    parent_header: Header.nullable(),
    metadata: Anything,
    content: Anything,
    buffers: z.array(Base64),
  })
  .meta({ id: "JupyterEvent" });
export type JupyterEvent = z.infer<typeof JupyterEvent>;

export const ResourceUsage = z
  .looseObject({
    cpu_percent: z
      .int()
      .describe("Of the whole process tree; 100 is one full core"),
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
        "Why it changed: for `busy` and `idle` the `msg_type` of the request",
      ),
  })
  .meta({ id: "StatusEvent" });

export const ExitedEvent = z
  .object({
    kind: z.literal("exited"),
    seq,
    exit_code: z.int().describe("-1 when a signal ended it"),
    signal: z.string().nullable().describe("Such as `SIGKILL`"),
    output: z
      .string()
      .describe("The tail of what it printed on standard error"),
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
      "Why it was aborted or interrupted, where that was our doing or the kernel's end",
    ),
    first_seq: z
      .int()
      .describe("The first number in the journal that the execution caused"),
    last_seq: z
      .int()
      .describe("The last such number so far: that of this event"),
  })
  .describe(
    "Where an execution is, whichever door its code came through. Said at most three times: `queued`, where it waits behind others; `running`, when it has been sent to the kernel; and how it ended, which is the last event of the execution. Only what a kernel says of it after that, such as the output of a thread, comes later",
  )
  .meta({ id: "ExecutionStateEvent" });

/** The person or program that asked for an execution: `attribution` in the metadata of its request. */
export const Attribution = z
  .object({
    source: z.string().describe("Such as `agent`"),
    agent_name: z.string().nullable(),
    agent_version: z.string().nullable(),
    workspace_id: z
      .string()
      .describe("The session's, where the request names none; may be empty"),
    tool: z.string().describe("`execute_code` where the request names none"),
  })
  .meta({ id: "Attribution" });
export type Attribution = z.infer<typeof Attribution>;

/** Code as answers and events show it. */
export const ShownCode = z.object({
  code: z
    .string()
    .describe(
      "The whole code; only its beginning and its end where `code_is_clipped`",
    ),
  code_length: z.int().describe("Of the whole code, in UTF-16 units"),
  code_is_clipped: z
    .boolean()
    .describe(
      "The code has more than 1 MiB as JSON, or in listings more than 8192 UTF-16 units",
    ),
});
export type ShownCode = z.infer<typeof ShownCode>;

export const ExecutionRequestedEvent = z
  .object({
    kind: z.literal("execution_requested"),
    seq,
    msg_id: z.string().describe("Of the execute request"),
    ...ShownCode.shape,
    requested_at: z.string().describe("ISO 8601"),
    attribution: Attribution,
  })
  .describe(
    "Somebody whom the request names wants code to run. Comes before everything that the execution says",
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

/** What is known of a message that was refused. */
export const Refused = z
  .object({
    msg_type: z.string().nullable(),
    reason: z
      .enum(["not_json", "too_deep", "too_large"])
      .describe(
        "`not_json`: a frame is not one JSON value; `too_deep`: its arrays and objects are nested too deep; `too_large`: the message is larger than the server takes",
      ),
    size: z.int().describe("Bytes of the message"),
  })
  .meta({ id: "Refused" });
export type Refused = z.infer<typeof Refused>;

export const RefusedEvent = z
  .object({
    kind: z.literal("refused"),
    seq,
    channel: Channel.describe("Where the kernel sent the message"),
    ...Refused.shape,
    parent_id: z
      .string()
      .nullable()
      .describe("The `msg_id` of the request that it answered"),
  })
  .describe(
    "A message of the kernel that the server could not accept: nothing of its content is in the journal",
  )
  .meta({ id: "RefusedEvent" });

export const GapEvent = z
  .object({
    kind: z.literal("gap"),
    seq,
    from: z.int().describe("The first number that is no longer kept"),
    to: z.int().describe("The last number that is no longer kept"),
  })
  .describe("Some of what was asked for has been forgotten: `from` to `to`")
  .meta({ id: "GapEvent" });

export const JournalEvent = z
  .object({
    kind: z.literal("journal"),
    seq: z.literal(0),
    journal_id: JournalId,
    previous_journal_id: z
      .string()
      .describe("The one that the reader had read, as it says itself"),
  })
  .describe(
    "The session is another one than the reader knows: its journal follows, from the beginning. In no journal itself",
  )
  .meta({ id: "JournalEvent" });

/** Everything a session says. Switch on `kind`. */
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
/** What the supervisor says itself, before it has a number. */
export type OwnEvent = DistributiveOmit<
  Exclude<SessionEvent, { kind: "jupyter" | "gap" | "journal" }>,
  "seq"
>;
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown
  ? Omit<T, K>
  : never;

/** A value in several formats, by MIME type. JSON types hold values, binary ones base64. */
export const MimeBundle = z
  .record(z.string(), z.unknown())
  .meta({ id: "MimeBundle" });
export type MimeBundle = z.infer<typeof MimeBundle>;
