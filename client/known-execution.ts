/**
 * What is known here of one execution, from what was heard of it and from what
 * the server says of it: how it ended, and what it asks. Code asks one thing at
 * a time: a new question means that the one before wants no answer any more.
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
  /** How it ended, as the server says. */
  end?: Pick<Description, "state" | "reason"> | undefined;
  /** What it asked last. */
  request?: LastRequest | undefined;
  /** Questions up to this number want no answer any more. */
  settled: number;
  /** Whether every question is heard, so that none is open that is not known. */
  isLive: boolean;
}

interface LastRequest {
  readonly seq: number;
  readonly header: { readonly msg_id: string };
}

/** It said this. */
export function applyEvent(known: KnownExecution, said: ExecutionEvent): void {
  if (said.type === "running") known.wasStarted = true;
  if (said.type === "execute_reply") known.reply = said.message.content;
  if (said.type === "ended") known.end = said;
  if (said.type !== "input_request") return;
  const before = known.request?.seq ?? 0;
  if (before >= said.seq) return;
  settle(known, before);
  known.request = said.message;
}

/** The server says this of it. */
export function applyDescription(
  known: KnownExecution,
  described: Description,
): void {
  known.wasStarted ||= described.started_at !== null;
  known.reply ??= described.reply ?? undefined;
  if (isOver(described.state)) known.end ??= described;
}

/** Throws `kernel_exited` where its kernel went away under it. */
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

export function settle(known: KnownExecution, seq: number): void {
  known.settled = Math.max(known.settled, seq);
}

/** What was said, as whoever listens is told it now. */
export function withAnswered(
  { settled }: KnownExecution,
  said: ExecutionEvent,
): ExecutionEvent {
  if (said.type !== "input_request") return said;
  return { ...said, answered: said.seq <= settled };
}

/** Answers the question that was heard last, else whatever is asked. Rejects with `execution_state` where nothing is asked, or somebody was faster. */
export async function answer(
  line: ServerLink,
  known: KnownExecution,
  value: string,
  options?: CallOptions,
): Promise<void> {
  const { id, settled, isLive } = known;
  const question =
    (known.request?.seq ?? 0) > settled ? known.request : undefined;
  if (question === undefined && isLive) {
    const why = `Execution ${id.execution_id} has not asked for anything, or it was answered`;
    throw new SupervisorError("execution_state", why);
  }
  const answer_id = uuid();
  const input_request_id = question?.header.msg_id;
  const given = { ...id, value, answer_id, input_request_id };
  const letter = {
    id: answer_id,
    size: value.length,
    transmit: (signal: AbortSignal) =>
      line.ask(line.trpc.executions.answer.mutate(given, { signal })),
  };
  const done = () => settle(known, question?.seq ?? 0);
  try {
    await line.post(letter, options);
    done();
  } catch (error) {
    if (isBecause("execution_state", error)) done(); // somebody was faster
    throw error;
  }
}
