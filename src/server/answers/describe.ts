/** The description of a session for clients. */
import { type contract, type InputOf } from "../../../contract/index.ts";
import { type Message, objectOf } from "../../jupyter/message.ts";
import { membersAsWritten } from "../../jupyter/raw-json.ts";
import type { Session } from "../../session/session.ts";

/** Number of executions in a description. An operation of its own lists all that are kept. */
const HISTORY_SHOWN = 3;

type Description = InputOf<typeof contract.sessions.get.output>;

/** Details that come from the kernel and from clients. */
interface ReportedDetails extends Pick<
  Description,
  "kernel_info" | "execution_queue"
> {
  readonly prompts: Partial<
    Pick<Description, "input_prompt" | "continuation_prompt">
  >;
}

export const NO_REPORTED_DETAILS: ReportedDetails = {
  kernel_info: {},
  execution_queue: { length: 0, pending: [] },
  prompts: {},
};

export function describe(
  session: Session,
  { prompts, ...reported } = reportedDetailsOf(session),
): Description {
  const { spec, status, pid, resource_usage } = session;
  const seconds = Math.floor(session.statusAge_ms / 1000);
  const isRunning = session.isRunning;
  return {
    session_id: spec.session_id,
    kernel_id: spec.kernel_id,
    argv: [...spec.argv],
    ...(pid !== undefined && { process_id: pid }),
    username: spec.username,
    display_name: spec.display_name,
    language: spec.language,
    interrupt_mode: spec.interrupt_mode,
    initial_env: { ...session.environment },
    connected: session.ownership.isTaken,
    started: session.startedAt.toISOString(),
    session_mode: spec.session_mode,
    working_directory: session.workingDirectory,
    ...(spec.notebook_uri !== undefined && { notebook_uri: spec.notebook_uri }),
    input_prompt: prompts.input_prompt ?? spec.input_prompt,
    continuation_prompt:
      prompts.continuation_prompt ?? spec.continuation_prompt,
    ...reported,
    status,
    ...(resource_usage !== undefined && isRunning && { resource_usage }),
    idle_seconds:
      status === "busy" || status === "starting" || status === "offline"
        ? 0
        : seconds,
    busy_seconds: status === "busy" ? seconds : 0,
    ...(session.ownership.socketPath !== undefined && {
      socket_path: session.ownership.socketPath,
    }),
    history: session.history.last(HISTORY_SHOWN),
    ...(spec.workspace_id !== undefined && { workspace_id: spec.workspace_id }),
    ...(spec.kernel_name !== undefined && { kernel_name: spec.kernel_name }),
    ...(session.connectionFile !== undefined && {
      connection_file: session.connectionFile,
    }),
    labels: { ...session.labels },
    policy: { ...session.policy },
    limits: session.limits,
    keep: session.isKept,
    ...(session.keeperPid !== undefined && {
      keeper_process_id: session.keeperPid,
    }),
    ...(session.endedAt !== undefined && {
      ended: session.endedAt.toISOString(),
    }),
    ...(session.detachedAt !== undefined && {
      detached: session.detachedAt.toISOString(),
    }),
    last_seq: session.journal.last,
    journal_id: session.journal.id,
  };
}

function reportedDetailsOf(session: Session): ReportedDetails {
  return {
    kernel_info: { ...session.info },
    execution_queue: describeQueue(session),
    prompts: promptsOf(session.info),
  };
}

export function describeQueue({
  queue,
}: Session): Description["execution_queue"] {
  const { active, pending } = queue;
  return {
    ...(active !== undefined && { active: toValue(active) }),
    length: pending.length,
    pending: pending.map(toValue),
  };
}

/** A message as JSON values, with its whole header. */
function toValue(
  message: Message,
): Description["execution_queue"]["pending"][number] {
  return {
    channel: message.channel,
    header: { ...message.header },
    parent_header:
      message.parent_header === undefined ? null : { ...message.parent_header },
    metadata: membersAsWritten(message.raw.metadata),
    content: membersAsWritten(message.raw.content),
    buffers: message.buffers.map((buffer) =>
      Buffer.from(buffer).toString("base64"),
    ),
  };
}

/** The prompts that a kernel made for Positron reports in its `kernel_info_reply`. */
function promptsOf(
  info: Readonly<Record<string, unknown>>,
): ReportedDetails["prompts"] {
  const language = objectOf(info["language_info"]);
  const { input_prompt, continuation_prompt } =
    objectOf(language?.["positron"]) ?? {};
  return {
    ...(typeof input_prompt === "string" && { input_prompt }),
    ...(typeof continuation_prompt === "string" && { continuation_prompt }),
  };
}
