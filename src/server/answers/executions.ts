/** The answers to the execution operations. */
import type { contract } from "../../../contract/index.ts";
import { request } from "../../jupyter/client-message.ts";
import { cacheMembers } from "../../jupyter/json-members.ts";
import { bufferOf, type Message } from "../../jupyter/message.ts";
import { RawJson, stringify } from "../../jupyter/raw-json.ts";
import { eventsOf, pastOf } from "../../session/executions/events.ts";
import type { Execution } from "../../session/executions/execution.ts";
import { outputsIn } from "../../session/executions/outputs.ts";
import type { Session } from "../../session/session.ts";
import { deadline, untilAborted } from "../../time/signals.ts";
import { CODE, type UnreadCode, type UnreadInput } from "./client-input.ts";
import { describeExecution, listExecution } from "./describe-execution.ts";
import { type AnswersTo, trustShape } from "./implement.ts";
import type { Service } from "./service.ts";
import { defaultHeaderOf } from "./default-header.ts";
import { assertJournal, subscribe } from "./subscription.ts";

export const executions: AnswersTo<typeof contract.executions> = {
  create({ input, unread, by, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    const { execution_id, deadline_ms, ...code } = input;
    assertJournal(session, input.journal_id);
    const known = session.executions.find(execution_id);
    const execution =
      known ??
      session.execute(
        executeRequest(session, code, unread, execution_id),
        deadline_ms,
        by,
      );
    return describeExecution(session, execution);
  },

  list({ input, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    return {
      executions: [...session.executions].map((execution) =>
        listExecution(session, execution),
      ),
      forgotten: session.executions.forgotten,
    };
  },

  get({ input, service }) {
    const [session, execution] = found(service, input);
    return describeExecution(session, execution);
  },

  follow({ input, service, signal }) {
    const [session, execution] = found(service, input);
    const { journal, ended } = session;
    return subscribe(journal.id, input.lastEventId, (after) =>
      eventsOf(execution, journal, { after, signals: [signal, ended] }),
    );
  },

  async outputs({ input, service, signal }) {
    const [session, execution] = found(service, input);
    const past = pastOf(execution, session.journal, signal);
    const outputs = await outputsIn(past, execution.id);
    const { id: execution_id, state } = execution;
    return trustShape({ execution_id, state, ...outputs });
  },

  answer({ input, service }) {
    const [session, execution] = found(service, input);
    session.answer(execution, input);
    return describeExecution(session, execution);
  },

  cancel({ input, service }) {
    const [session, execution] = found(service, input);
    session.cancel(execution);
    return describeExecution(session, execution);
  },

  async interrupt({ input, service }) {
    const [session, execution] = found(service, input);
    await session.interruptExecution(execution);
    return describeExecution(session, execution);
  },

  async wait({ input, service, signal }) {
    const [session, execution] = found(service, input);
    const ends = [signal, session.ended, execution.over];
    using end = deadline(ends, input.timeout_ms);
    await untilAborted(end.signal);
    return describeExecution(session, execution);
  },
};

/** The message for the kernel that runs a client's code. */
export function executeRequest(
  session: Session,
  {
    code,
    silent,
    store_history = !silent,
    stop_on_error,
    allow_stdin,
    user_expressions = {},
    metadata,
  }: {
    readonly code: string;
    readonly silent: boolean;
    readonly store_history?: boolean | undefined;
    readonly stop_on_error: boolean;
    readonly allow_stdin: boolean;
    readonly user_expressions?: Readonly<Record<string, unknown>> | undefined;
    readonly metadata?: Readonly<Record<string, unknown>> | undefined;
  },
  /** The fields that are not parsed: they replace the parsed ones. */
  unread: UnreadInput,
  msg_id?: string,
): Message {
  const { user_expressions: expressions } = unread;
  const more = {
    silent,
    store_history,
    user_expressions:
      expressions === undefined
        ? user_expressions
        : new RawJson(bufferOf(expressions)),
    allow_stdin,
    stop_on_error,
  };
  const message = request(
    "execute_request",
    {},
    {
      ...defaultHeaderOf(session),
      metadata,
      ...(msg_id !== undefined && { msg_id }),
      unread:
        unread.code === undefined
          ? Buffer.from(stringify({ code, ...more }))
          : withCode(unread.code, more),
    },
  );
  const { metadata: written = message.raw.metadata } = unread;
  return { ...message, raw: { ...message.raw, metadata: written } };
}

/** The content of a request whose code is not parsed. */
function withCode(
  { jsonString, contentStart }: UnreadCode,
  more: object,
): Buffer {
  const members = new Map([["code", jsonString]]);
  let size = CODE.length + jsonString.length;
  for (const [name, value] of Object.entries(more)) {
    if (value === undefined) continue;
    const json = Buffer.from(stringify(value));
    members.set(name, json);
    size += contentStart.write(`,"${name}":`, size);
    size += json.copy(contentStart, size);
  }
  size += contentStart.write("}", size);
  const content = contentStart.subarray(0, size);
  cacheMembers(content, members);
  return content;
}

/** Throws `session_not_found`, `execution_not_found`. */
function found(
  { supervisor }: Service,
  { session_id, execution_id }: { session_id: string; execution_id: string },
): readonly [Session, Execution] {
  const session = supervisor.session(session_id);
  return [session, session.executions.get(execution_id)];
}
