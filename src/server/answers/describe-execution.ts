/** An execution as clients see it. */
import type {
  contract,
  InputOf,
  JupyterEvent,
} from "../../../contract/index.ts";
import { contentOf } from "../../jupyter/message.ts";
import { membersAsWritten } from "../../jupyter/raw-json.ts";
import type { MessageEntry } from "../../journal/entry.ts";
import type { Execution } from "../../session/executions/execution.ts";
import type { Session } from "../../session/session.ts";

type Description = InputOf<typeof contract.executions.get.output>;

/** UTF-16 units of long code that a listing shows of its beginning, and again of its end. */
const CLIP = 4096;

/** All that is known of it. */
export function describeExecution(
  session: Session,
  execution: Execution,
): Description {
  const { request, reply, reason, input } = execution;
  const count = reply?.["execution_count"];
  const said = contentOf(request)?.["code"];
  const code = typeof said === "string" ? said : "";
  return {
    execution_id: execution.id,
    session_id: session.id,
    state: execution.state,
    reason: reason ?? null,
    code,
    code_length: code.length,
    metadata: membersAsWritten(request.raw.metadata),
    queued_at: execution.queuedAt.toISOString(),
    started_at: execution.startedAt?.toISOString() ?? null,
    ended_at: execution.endedAt?.toISOString() ?? null,
    deadline_ms: execution.deadline_ms ?? null,
    execution_count: typeof count === "number" ? count : null,
    reply: reply === undefined ? null : { ...reply },
    first_seq: execution.firstSeq ?? null,
    last_seq: execution.lastSeq ?? null,
    counts: Object.fromEntries(execution.counts),
    output_bytes: execution.outputBytes,
    input_request: input === undefined ? null : eventIn(input),
    requested_by: execution.by?.client ?? null,
  };
}

/** As a listing shows it: what may be long is clipped or left out. */
export function listExecution(
  session: Session,
  execution: Execution,
): Description {
  const whole = describeExecution(session, execution);
  return { ...whole, code: clipped(whole.code), reply: null };
}

/** A message of the journal as the event that clients read. What should be an object and is not is empty. */
export function eventIn(entry: MessageEntry): JupyterEvent {
  const event = JSON.parse(
    Buffer.concat(entry.json).toString(),
  ) as JupyterEvent;
  const { metadata, content } = entry.raw;
  return {
    ...event,
    metadata: membersAsWritten(metadata),
    content: membersAsWritten(content),
  };
}

function clipped(code: string): string {
  return code.length <= 2 * CLIP
    ? code
    : `${code.slice(0, CLIP)}\n…\n${code.slice(-CLIP)}`;
}
