/**
 * The client's knowledge of one execution: how it ended, and its open input
 * request. It comes from the events that the client received, and from the
 * server's description of the execution.
 *
 * Code has at most one open input request: a new one means that the one before it
 * needs no answer any more.
 */
import { isOver } from "../contract/execution-end.ts";
import type { Execution as Description } from "../contract/index.ts";
import { SupervisorError } from "../contract/reasons.ts";
import type { ExecutionEvent } from "./execution-event.ts";
import {
  type ExecutionResult,
  type Kept,
  kernelExited,
  resultOf,
  statusOf,
} from "./execution-result.ts";
import type { ExecutionId } from "./executions.ts";
import { isBecause } from "./failure.ts";
import type { CallOptions, ServerLink } from "./server-link.ts";
import { uuid } from "./uuid.ts";

export interface KnownExecution {
  readonly id: ExecutionId;
  wasStarted?: boolean;
  reply?: Readonly<Record<string, unknown>> | undefined;
  /** How it ended, as the server reports. */
  end?: Pick<Description, "state" | "reason"> | undefined;
  /** The last input request that was received. */
  inputRequest?: OpenRequest | undefined;
  /** Input requests up to this number need no answer any more. */
  answeredSeq: number;
  /** Whether the client receives every input request, so that it knows the open one. */
  receivesAll: boolean;
}

interface OpenRequest {
  readonly seq: number;
  readonly header: { readonly msg_id: string };
}

/** Takes over what an event of the execution reports. */
export function applyEvent(known: KnownExecution, event: ExecutionEvent): void {
  if (event.type === "running") known.wasStarted = true;
  if (event.type === "execute_reply") known.reply = event.message.content;
  if (event.type === "ended") known.end = event;
  if (event.type !== "input_request") return;
  const before = known.inputRequest?.seq ?? 0;
  if (before >= event.seq) return;
  markAnswered(known, before);
  known.inputRequest = event.message;
}

/** Takes over the server's description. */
export function applyDescription(
  known: KnownExecution,
  described: Description,
): void {
  known.wasStarted ||= described.started_at !== null;
  known.reply ??= described.reply ?? undefined;
  if (isOver(described.state)) known.end ??= described;
}

/** Throws `kernel_exited` if its kernel ended while it ran. */
export function resultIn(
  { id, wasStarted, reply = {}, end }: KnownExecution,
  kept: Kept,
): ExecutionResult {
  const { state, reason } = end ?? { state: "done", reason: null };
  if (reason === "kernel_exited" && wasStarted === true) {
    throw kernelExited(id.session_id, reply);
  }
  const status = statusOf({ state, reply });
  return resultOf({ ...kept, msg_id: id.execution_id, reply, status, reason });
}

/** Input requests up to number `seq` need no answer any more. */
export function markAnswered(known: KnownExecution, seq: number): void {
  known.answeredSeq = Math.max(known.answeredSeq, seq);
}

/** The event for the program; an input request gets its present `answered`. */
export function withAnswered(
  { answeredSeq }: KnownExecution,
  event: ExecutionEvent,
): ExecutionEvent {
  if (event.type !== "input_request") return event;
  return { ...event, answered: event.seq <= answeredSeq };
}

/** Answers the last input request that was received; if none was, the open one. Rejects with `execution_state` if none is open, or another client has answered it. */
export async function answer(
  link: ServerLink,
  known: KnownExecution,
  value: string,
  options?: CallOptions,
): Promise<void> {
  const { id, answeredSeq, receivesAll } = known;
  const open =
    (known.inputRequest?.seq ?? 0) > answeredSeq
      ? known.inputRequest
      : undefined;
  if (open === undefined && receivesAll) {
    const why = `Execution ${id.execution_id} has no open input request`;
    throw new SupervisorError("execution_state", why);
  }
  const answer_id = uuid();
  const input_request_id = open?.header.msg_id;
  const input = { ...id, value, answer_id, input_request_id };
  const message = {
    id: answer_id,
    size: value.length,
    transmit: (signal: AbortSignal) =>
      link.result(link.trpc.executions.answer.mutate(input, { signal })),
  };
  const done = () => markAnswered(known, open?.seq ?? 0);
  try {
    await link.post(message, options);
    done();
  } catch (error) {
    if (isBecause("execution_state", error)) done(); // another client has answered
    throw error;
  }
}
