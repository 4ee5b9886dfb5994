/** The answers to the session operations. */
import { AdoptedConnection } from "../../../contract/adopted-connection.ts";
import { type contract, failure, fits } from "../../../contract/index.ts";
import { fromClientValue, request } from "../../jupyter/client-message.ts";
import { collect } from "../../session/executions/collect.ts";
import { deadline } from "../../time/signals.ts";
import { describe, NO_REPORTED_DETAILS } from "./describe.ts";
import { describeCollected } from "./describe-collected.ts";
import { toJupyterEvent } from "./describe-execution.ts";
import { describeSnapshot } from "./describe-snapshot.ts";
import { executeRequest } from "./executions.ts";
import { type AnswersTo, trustShape } from "./implement.ts";
import type { Session } from "../../session/session.ts";
import { changeOf } from "../../session/limits.ts";
import { changed } from "../../session/policy.ts";
import type { Service } from "./service.ts";
import { assertCpuLimit, resolveSpec } from "./session-spec.ts";
import { defaultHeaderOf } from "./default-header.ts";
import {
  assertJournal,
  type SubscriptionItem,
  subscribe,
} from "./subscription.ts";

export const sessions: AnswersTo<typeof contract.sessions> = {
  list({ input, service }) {
    const { supervisor } = service;
    const all = supervisor.sessions
      .filter(({ labels }) => fits(labels, input?.label))
      .map((session) => ({
        ...describeOrReduce(session, service.faults),
        initial_env: {}, // only in the details of one session: more people see a listing
      }));
    return { total: all.length, sessions: all };
  },

  async create({ input, service }) {
    service.supervisor.assertOpen();
    const spec = await resolveSpec(input, service);
    return { session_id: service.supervisor.create(spec).id };
  },

  get: ({ input, service: { supervisor } }) =>
    describe(supervisor.session(input.session_id)),

  set_labels({ input, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    session.labels = input.labels;
    return { ...session.labels };
  },

  set_policy({ input, service: { supervisor } }) {
    const { session_id, ...change } = input;
    const session = supervisor.session(session_id);
    session.policy = changed(session.policy, change);
    return { ...session.policy };
  },

  async set_limits({ input, service: { supervisor, sessionLimits, host } }) {
    const { session_id, ...requested } = input;
    const session = supervisor.session(session_id);
    const change = changeOf(requested, sessionLimits);
    if (typeof change.cpus === "number") assertCpuLimit(host);
    await session.setLimits(change);
    return { ...session.limits };
  },

  async delete({ input, service: { supervisor } }) {
    await supervisor.delete(input.session_id);
    return null;
  },

  async start({ input, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    supervisor.assertMayStart(session);
    return await session.start();
  },

  async restart({ input, service }) {
    const { supervisor, log } = service;
    const session = supervisor.session(input.session_id);
    supervisor.assertMayStart(session);
    const requested = input.working_directory ?? "";
    const { path, fault, reason } =
      await service.host.workingDirectory(requested);
    if (fault !== undefined && input.working_directory_required === true) {
      throw failure("bad_working_directory", { why: fault });
    }
    if (reason !== undefined) log.warn({ session: session.id }, reason);
    await session.restart({
      working_directory:
        requested === "" || reason !== undefined ? undefined : path,
      env: input.env ?? undefined,
    });
    return null;
  },

  async interrupt({ input, service: { supervisor } }) {
    await supervisor.session(input.session_id).interrupt();
    return null;
  },

  async shutdown({ input, service: { supervisor } }) {
    await supervisor.session(input.session_id).shutDown();
    return null;
  },

  async kill({ input, service: { supervisor } }) {
    await supervisor.session(input.session_id).kill();
    return null;
  },

  async adopt({ input, service }) {
    const { supervisor } = service;
    const { session_id, connection_file, ...given } = input;
    const session = supervisor.session(session_id);
    supervisor.assertMayStart(session);
    const connection =
      connection_file === undefined
        ? AdoptedConnection.parse(given) // checked by the contract
        : await connectionIn(connection_file, service);
    return await session.adopt(connection);
  },

  connection_info: ({ input, service: { supervisor } }) =>
    supervisor.session(input.session_id).connectionInfo(),

  send({ input, unread, by, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    assertJournal(session, input.journal_id);
    const message = fromClientValue(input, defaultHeaderOf(session), unread);
    return {
      msg_id: message.header.msg_id,
      repeated: !session.send(message, by),
    };
  },

  async request({ input, unread, by, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    const { msg_type, content, channel, timeout_ms } = input;
    const reply = await session.request(
      request(msg_type, content, {
        ...defaultHeaderOf(session),
        channel,
        unread: unread.content,
      }),
      timeout_ms,
      by,
    );
    if (reply.content === undefined) {
      const why = `the content of its ${reply.msg_type} is not an object`;
      throw failure("bad_answer", { session_id: session.id, why });
    }
    return toJupyterEvent(reply);
  },

  async execute({ input, unread, by, service: { supervisor }, signal }) {
    const session = supervisor.session(input.session_id);
    if (!session.isRunning && !session.isRestarting) {
      throw failure("session_not_running", { session_id: session.id });
    }
    const { silent = false, stop_on_error = true, ...fields } = input;
    const code = { ...fields, silent, stop_on_error, allow_stdin: false };
    const { timeout_ms, timeout_seconds: seconds } = input;
    const deadline_ms =
      timeout_ms ?? (seconds == null ? seconds : seconds * 1000);
    const execution = session.execute(
      executeRequest(session, code, unread),
      deadline_ms ?? undefined,
      by,
    );
    const collected = await collect(session, execution, signal);
    if (collected.timed_out && timeout_ms === undefined) {
      const why = `${seconds} s`;
      throw failure("execution_timeout", { execution_id: execution.id, why });
    }
    return trustShape(describeCollected(collected));
  },

  snapshot: ({ input, service: { supervisor } }) =>
    describeSnapshot(supervisor.session(input.session_id)),

  history: ({ input, service: { supervisor } }) => [
    ...supervisor.session(input.session_id).history,
  ],

  events({ input, service: { supervisor }, signal }) {
    const session = supervisor.session(input.session_id);
    return sessionEvents(session, input.lastEventId, signal);
  },
};

/** Throws `connection_file_not_found`. */
async function connectionIn(
  name: string,
  { connectionFiles: files }: Service,
): Promise<AdoptedConnection> {
  if (files === undefined) {
    const why = "the server does not use that directory";
    throw failure("connection_file_not_found", { name, why });
  }
  try {
    return await files.read(name);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : "it cannot be read";
    throw failure("connection_file_not_found", { name, why }, { cause });
  }
}

/** A session that cannot be described whole is listed without what its kernel reported, so that it does not hide the others. */
function describeOrReduce(session: Session, faults: Service["faults"]) {
  try {
    return describe(session);
  } catch (error) {
    const bindings = { session: session.id };
    faults.caught("A session could not be described", error, bindings);
    return describe(session, NO_REPORTED_DETAILS);
  }
}

/** Ends when the reader leaves or the session is deleted. */
async function* sessionEvents(
  { journal, ended }: Session,
  lastEventId: string | null | undefined,
  signal: AbortSignal,
): AsyncGenerator<SubscriptionItem, void> {
  using end = deadline([signal, ended]);
  yield* subscribe(journal.id, lastEventId, (after) =>
    journal.follow(after, end.signal),
  );
}
