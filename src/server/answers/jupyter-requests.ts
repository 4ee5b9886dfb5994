/** The answers to the operations that run code below Jupyter's addresses. A request there is an execution of the session. */
import {
  failure,
  isOver,
  type contract,
  type JupyterRequest,
} from "../../../contract/index.ts";
import { pastOf } from "../../session/executions/events.ts";
import type { Execution } from "../../session/executions/execution.ts";
import { outputsIn } from "../../session/executions/outputs.ts";
import type { Session } from "../../session/session.ts";
import { deadline, untilAborted } from "../../time/signals.ts";
import { executeRequest } from "./executions.ts";
import { type AnswersTo, trustShape } from "./implement.ts";
import { describeInput, kernelOf } from "./jupyter.ts";
import type { Service } from "./service.ts";

type Operations = Pick<
  typeof contract.jupyter,
  "execute" | "request" | "cancel_request" | "answer_input"
>;

export const jupyterRequests: AnswersTo<Operations> = {
  async execute({ input, unread, by, service: { supervisor }, signal }) {
    const session = kernelOf(input.kernel_id, supervisor);
    const { request_id, previous_request_id, wait } = input;
    if (request_id == null || !session.hasAccepted(request_id)) {
      assertRunning(session);
      assertArrived(session, previous_request_id);
    }
    const silent = input.silent ?? false;
    const code = {
      code: input.code,
      silent,
      store_history: input.store_history ?? !silent,
      stop_on_error: input.stop_on_error ?? true,
      allow_stdin: input.allow_stdin ?? true,
      metadata: input.metadata ?? {},
    };
    const request = executeRequest(
      session,
      code,
      unread,
      request_id ?? undefined,
    );
    const execution = session.execute(request, undefined, by);
    return await described(session, execution, wait, signal);
  },

  async request({ input, service, signal }) {
    const [session, execution] = found(input, service);
    return await described(session, execution, input.wait, signal);
  },

  async cancel_request({ input, service }) {
    const [session, execution] = found(input, service);
    if (execution.state === "queued") session.cancel(execution);
    else if (!execution.isOver) await session.interruptExecution(execution);
    return null;
  },

  answer_input({ input, service: { supervisor } }) {
    const session = kernelOf(input.kernel_id, supervisor);
    const { input: value, request_id } = input;
    session.answer(
      request_id == null
        ? requesting(session)
        : session.executions.get(request_id),
      { value },
    );
    return null;
  },
};

/** Throws `session_not_running`. */
function assertRunning(session: Session): void {
  if (session.isRunning || session.isRestarting) return;
  throw failure("session_not_running", { session_id: session.id });
}

/** Throws `execution_state`. */
function assertArrived(
  session: Session,
  request_id: string | null | undefined,
): void {
  if (request_id == null || session.hasAccepted(request_id)) return;
  const why = `Request ${request_id}, which comes before this one, has not arrived: send it first`;
  throw failure("execution_state", { why });
}

/** Throws `kernel_not_found`, `execution_not_found`. */
function found(
  { kernel_id, request_id }: { kernel_id: string; request_id: string },
  { supervisor }: Service,
): readonly [Session, Execution] {
  const session = kernelOf(kernel_id, supervisor);
  return [session, session.executions.get(request_id)];
}

/** The code that waits for input. Throws `execution_state`. */
function requesting({ id, executions }: Session): Execution {
  const execution = executions.running.find(({ input }) => input !== undefined);
  if (execution !== undefined) return execution;
  const why = `No code of session ${id} waits for input`;
  throw failure("execution_state", { why });
}

/** The request, when it is complete, requests input, or `wait` seconds have passed. Throws `execution_aborted`. */
async function described(
  session: Session,
  execution: Execution,
  wait = 0,
  signal: AbortSignal,
): Promise<JupyterRequest> {
  if (wait > 0 && !execution.isOver && execution.input === undefined) {
    const { over, nextInputRequest } = execution;
    const ends = [signal, session.ended, over, nextInputRequest];
    using end = deadline(ends, wait * 1000);
    await untilAborted(end.signal);
  }
  const { id: request_id, state, reply = {} } = execution;
  const kernel_id = session.spec.kernel_id;
  const ids = { request_id, kernel_id, pending: !isOver(state) };
  switch (state) {
    case "queued":
    case "running":
      return { ...ids, request_status: state };
    case "waiting_for_input":
      return {
        ...ids,
        request_status: "input",
        input_request: describeInput(execution),
      };
    case "aborted": {
      const { evalue } = reply;
      const why = typeof evalue === "string" ? evalue : reasonOf(execution);
      throw failure("execution_aborted", { execution_id: request_id, why });
    }
    default: {
      const past = pastOf(execution, session.journal, signal);
      const { execution_count: count } = reply;
      return trustShape({
        ...ids,
        request_status: "complete",
        status: state === "done" ? "ok" : "error",
        execution_count: typeof count === "number" ? count : null,
        ...(await outputsIn(past, request_id)),
      });
    }
  }
}

/** Why the code did not run, in words. */
function reasonOf({ reason }: Execution): string {
  switch (reason) {
    case undefined:
    case "earlier_failure":
      return "code before it failed";
    case "cancelled":
      return "a client cancelled it";
    case "shutdown":
      return "the kernel was shut down";
    case "not_sent":
      return "it could not be sent to the kernel";
    default:
      return reason.replaceAll("_", " ");
  }
}
