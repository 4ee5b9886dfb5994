/** The description of an execution for clients. */
import type {
  contract,
  InputOf,
  JupyterEvent,
} from "../../../contract/index.ts";
import { limits } from "../../../contract/limits.ts";
import { membersAsWritten } from "../../jupyter/raw-json.ts";
import type { Entry } from "../../journal/entry.ts";
import type { Execution } from "../../session/executions/execution.ts";
import type { Session } from "../../session/session.ts";

type Description = InputOf<typeof contract.executions.get.output>;

/** The full description. */
export function describeExecution(
  session: Session,
  execution: Execution,
): Description {
  return {
    ...commonFieldsOf(session, execution),
    ...execution.code.shown,
    ...metadataOf(execution, limits.shown_metadata_bytes),
    reply: execution.reply ?? null,
  };
}

/** The description for a listing: fields that may be long are clipped or left out. */
export function listExecution(
  session: Session,
  execution: Execution,
): Description {
  return {
    ...commonFieldsOf(session, execution),
    ...execution.code.listed,
    ...metadataOf(execution, limits.listed_metadata_bytes),
    reply: null,
  };
}

function commonFieldsOf(session: Session, execution: Execution) {
  const { reply, reason, input } = execution;
  const count = reply?.["execution_count"];
  return {
    execution_id: execution.id,
    session_id: session.id,
    state: execution.state,
    reason: reason ?? null,
    queued_at: execution.queuedAt.toISOString(),
    started_at: execution.startedAt?.toISOString() ?? null,
    ended_at: execution.endedAt?.toISOString() ?? null,
    deadline_ms: execution.deadline_ms ?? null,
    execution_count: typeof count === "number" ? count : null,
    first_seq: execution.firstSeq ?? null,
    last_seq: execution.lastSeq ?? null,
    counts: Object.fromEntries(execution.counts),
    output_bytes: execution.outputBytes,
    input_request: input === undefined ? null : toJupyterEvent(input),
    requested_by: execution.by?.client ?? null,
  };
}

/** `limit`: bytes. Larger metadata is left out. */
function metadataOf({ request }: Execution, limit: number) {
  const { metadata } = request.raw;
  const isLeftOut = metadata.length > limit;
  return {
    metadata: membersAsWritten(isLeftOut ? undefined : metadata),
    metadata_is_left_out: isLeftOut,
  };
}

/** A message of the journal as the event that clients read. A field that should be an object and is not becomes an empty object. */
export function toJupyterEvent(entry: Entry): JupyterEvent {
  const event = JSON.parse(entry.text.toString()) as JupyterEvent;
  const { metadata, content } = entry.raw;
  return {
    ...event,
    metadata: membersAsWritten(metadata),
    content: membersAsWritten(content),
  };
}
