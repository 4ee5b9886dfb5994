/** The session operations, each answered in a line or a few. */
import {
  type contract,
  failure,
  type JupyterEvent,
} from "../../contract/index.ts";
import { fromClientValue, request } from "../jupyter/client-message.ts";
import { collect } from "../session/collect.ts";
import { Deadline } from "../signals.ts";
import { describe } from "./describe.ts";
import { describeCollected } from "./describe-collected.ts";
import { describeSnapshot } from "./describe-snapshot.ts";
import { executeRequest } from "./executions.ts";
import type { AnswersTo } from "./implement.ts";
import type { Session } from "../session/session.ts";
import { speakerOf } from "./speaker.ts";
import { assertJournal, type Told, told } from "./told.ts";

export const sessions: AnswersTo<typeof contract.sessions> = {
  list({ service: { supervisor } }) {
    const all = supervisor.sessions.map((session) => ({
      ...describe(session),
      initial_env: {}, // one session's details tell it; a listing is looked at by more eyes
    }));
    return { total: all.length, sessions: all };
  },

  async create({ input, service }) {
    service.supervisor.assertOpen();
    const spec = await service.resolveSpec(input);
    return { session_id: service.supervisor.create(spec).id };
  },

  get: ({ input, service: { supervisor } }) =>
    describe(supervisor.session(input.session_id)),

  async delete({ input, service: { supervisor } }) {
    await supervisor.delete(input.session_id);
    return null;
  },

  async start({ input, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    supervisor.assertOpen();
    return infoOf(await session.start());
  },

  async restart({ input, service }) {
    const { supervisor, log } = service;
    const session = supervisor.session(input.session_id);
    supervisor.assertOpen();
    const wanted = input.working_directory ?? "";
    const { path, fault, reason } = await service.workingDirectory(wanted);
    if (fault !== undefined && input.working_directory_required === true) {
      throw failure("bad_working_directory", { why: fault });
    }
    if (reason !== undefined) log.warn({ session: session.id }, reason);
    await session.restart({
      working_directory:
        wanted === "" || reason !== undefined ? undefined : path,
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

  async adopt({ input, service: { supervisor } }) {
    const { session_id, ...connection } = input;
    const session = supervisor.session(session_id);
    supervisor.assertOpen();
    return infoOf(await session.adopt(connection));
  },

  connection_info: ({ input, service: { supervisor } }) =>
    supervisor.session(input.session_id).connectionInfo(),

  send({ input, unread, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    assertJournal(session, input.journal_id);
    const message = fromClientValue(input, speakerOf(session), unread);
    return { msg_id: message.header.msg_id, repeated: !session.send(message) };
  },

  async request({ input, unread, service: { supervisor } }) {
    const session = supervisor.session(input.session_id);
    const { msg_type, content, channel, timeout_ms } = input;
    const reply = await session.request(
      request(msg_type, content, {
        ...speakerOf(session),
        channel,
        unread: unread.content,
      }),
      timeout_ms,
    );
    return JSON.parse(Buffer.concat(reply.json).toString()) as JupyterEvent;
  },

  async execute({ input, unread, service: { supervisor }, signal }) {
    const session = supervisor.session(input.session_id);
    if (!session.isRunning && !session.isRestarting) {
      throw failure("session_not_running", { session_id: session.id });
    }
    const { silent = false, stop_on_error = true, ...asked } = input;
    const code = { ...asked, silent, stop_on_error, allow_stdin: false };
    const { timeout_ms, timeout_seconds: seconds } = input;
    const deadline_ms =
      timeout_ms ?? (seconds == null ? seconds : seconds * 1000);
    const execution = session.execute(
      executeRequest(session, code, { code: unread.code }),
      deadline_ms ?? undefined,
    );
    const collected = await collect(session, execution, signal);
    if (collected.timed_out && timeout_ms === undefined) {
      const why = `${seconds} s`;
      throw failure("execution_timeout", { execution_id: execution.id, why });
    }
    return describeCollected(collected);
  },

  snapshot: ({ input, service: { supervisor } }) =>
    describeSnapshot(supervisor.session(input.session_id)),

  history: ({ input, service: { supervisor } }) => [
    ...supervisor.session(input.session_id).history,
  ],

  events({ input, service: { supervisor }, signal }) {
    const session = supervisor.session(input.session_id);
    return all(session, input.lastEventId, signal);
  },
};

/** Until the reader leaves, or the session is deleted. */
async function* all(
  { journal, ended }: Session,
  lastEventId: string | null | undefined,
  signal: AbortSignal,
): AsyncGenerator<Told, void> {
  using end = new Deadline([signal, ended]);
  yield* told(journal.id, lastEventId, (after) =>
    journal.follow(after, end.signal),
  );
}

/** Kernels may leave out what their own protocol requires; the operation then says it for them. */
function infoOf(info: Readonly<Record<string, unknown>>) {
  return {
    protocol_version: "5.0",
    language_info: { name: "" },
    ...info,
  };
}
