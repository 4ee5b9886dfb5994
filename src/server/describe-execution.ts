/** An execution as clients see it. */
import type { contract, InputOf, JupyterEvent } from "../../contract/index.ts";
import { contentOf, type Message } from "../jupyter/message.ts";
import type { MessageEntry } from "../session/entry.ts";
import type { Execution } from "../session/execution.ts";
import type { Session } from "../session/session.ts";

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
  const code = codeOf(request);
  return {
    execution_id: execution.id,
    session_id: session.id,
    state: execution.state,
    reason: reason ?? null,
    code,
    code_length: code.length,
    metadata: objectIn(request.raw.metadata),
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

/** A message of the journal as the event that clients read. */
export function eventIn(entry: MessageEntry): JupyterEvent {
  return JSON.parse(Buffer.concat(entry.json).toString()) as JupyterEvent;
}

function clipped(code: string): string {
  return code.length <= 2 * CLIP
    ? code
    : `${code.slice(0, CLIP)}\n…\n${code.slice(-CLIP)}`;
}

function codeOf(request: Message): string {
  const { code } = (contentOf(request) ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : "";
}

function objectIn(bytes: Uint8Array): Record<string, unknown> {
  return JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;
}
