/** Publishes the states of an execution in the journal and to telemetry. */
import type { Message } from "../../jupyter/message.ts";
import type { Journal } from "../../journal/journal.ts";
import type { Telemetry } from "../../telemetry/telemetry.ts";
import { attributionOf } from "../attribution.ts";
import type { Execution } from "./execution.ts";

/** Publishes the program that requested the execution, if the request names it: once, before all other events of the execution. `workspace_id`: the default if the request has none. */
export function publishRequest(
  execution: Execution,
  request: Message,
  journal: Journal,
  workspace_id: string,
): void {
  if (execution.firstSeq !== undefined) return;
  const found = attributionOf(request);
  if (found?.source === undefined) return;
  const entry = journal.appendEvent({
    kind: "execution_requested",
    msg_id: execution.id,
    ...execution.code.shown,
    requested_at: new Date().toISOString(),
    attribution: {
      source: found.source,
      agent_name: found.agent_name ?? null,
      agent_version: found.agent_version ?? null,
      workspace_id: found.workspace_id ?? workspace_id,
      tool: found.tool ?? "execute_code",
    },
  });
  execution.noteSeq(entry.seq);
}

/** Publishes the state of the execution in the journal, once. */
export function publishState(execution: Execution, journal: Journal): void {
  if (execution.publishedState === execution.state) return;
  execution.publishedState = execution.state;
  const seq = journal.next;
  execution.noteSeq(seq);
  if (execution.isOver) execution.endSeq = seq;
  const { id, state, reason = null, firstSeq = seq } = execution;
  journal.appendEvent({
    kind: "execution",
    execution_id: id,
    state,
    reason,
    first_seq: firstSeq,
    last_seq: seq,
  });
}

/** Reports the end of an execution to telemetry. */
export function countEnded(
  ended: Execution,
  session_id: string,
  telemetry: Telemetry,
): void {
  const { by, queuedAt, endedAt = queuedAt, startedAt } = ended;
  telemetry.execution?.({
    session_id,
    execution_id: ended.id,
    state: ended.state,
    reason: ended.reason ?? null,
    output_bytes: ended.outputBytes,
    client: by?.client ?? null,
    span_id: by?.span_id ?? null,
    waited_ms: (startedAt ?? endedAt).getTime() - queuedAt.getTime(),
    ran_ms:
      startedAt === undefined ? 0 : endedAt.getTime() - startedAt.getTime(),
  });
}
