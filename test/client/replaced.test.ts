/** The server was restarted and has a new session with the same id: every pending call settles, and code for the earlier session does not run in the new one. */
import { expect, it } from "vitest";
import {
  connect,
  type SessionEvent,
  SupervisorError,
} from "../../client/index.ts";
import { clientOf, collect, cuttable, open, urlOf } from "./harness.ts";

const token = "the-same-token";

/** A client of a server behind a proxy. `replace` puts another server there, with a session of the same id that has events of its own. */
async function twoServers() {
  const one = await open({ token });
  const other = await open({ token });
  const proxy = await cuttable(urlOf(one.server));
  const make = async ({ server }: typeof one) => {
    const client = await clientOf(server);
    const session = await client.start("echo", { session_id: "same" });
    await session.execute("hello");
    return { client, session };
  };
  const first = await make(one);
  const client = await connect({ url: proxy.url, token });
  return {
    proxy,
    client,
    session: client.session("same"),
    direct: first.session,
    async replace() {
      const second = await make(other);
      proxy.down();
      proxy.to(Number(new URL(urlOf(other.server)).port));
      proxy.up();
      return second.session;
    },
    async [Symbol.asyncDispose]() {
      client.close();
      await proxy[Symbol.asyncDispose]();
      await one[Symbol.asyncDispose]();
      await other[Symbol.asyncDispose]();
    },
  };
}

async function failureOf(promise: PromiseLike<unknown>): Promise<Error> {
  try {
    await promise;
  } catch (error) {
    return error as Error;
  }
  throw new Error("It did not fail");
}

function isReplaced(error: Error): boolean {
  return (
    error instanceof SupervisorError && error.reason === "session_replaced"
  );
}

it("pending calls reject with session_replaced, and the error says that the code may have run", async () => {
  await using world = await twoServers();
  const { session } = world;
  const pending = session.execute("sleep 60000");
  for await (const event of pending) {
    if (event.type === "execute_input") break;
  }
  const comm = await session.comms.attach("some-comm");
  const reply = session.request("inspect_request", {}, { timeout_ms: 60_000 });
  const [replyError, commError] = [
    failureOf(reply),
    failureOf(comm[Symbol.asyncIterator]().next()),
  ];
  await world.replace();
  const error = await failureOf(pending);
  expect(isReplaced(error)).toBe(true);
  expect(error.message).toContain("may have run");
  expect(isReplaced(await replyError)).toBe(true);
  expect(isReplaced(await commError)).toBe(true);
  // The handle works with the new session.
  expect((await session.execute("again")).status).toBe("ok");
});

it("a reader gets a journal event, and continues at the beginning of the new journal", async () => {
  await using world = await twoServers();
  const { session } = world;
  const before = await session.info();
  const reader = session.events({
    after: `${before.journal_id}:${before.last_seq - 1}`,
  });
  const last = await reader.next();
  expect((last.value as SessionEvent).seq).toBe(before.last_seq);
  const next = (async () => {
    for (;;) {
      const { value } = await reader.next();
      if (value?.kind !== "resource_usage") return value;
    }
  })();
  const fresh = await world.replace();
  const { journal_id, last_seq } = await fresh.info();
  expect(await next).toEqual({
    kind: "journal",
    seq: 0,
    journal_id,
    previous_journal_id: before.journal_id,
  });
  for (let seq = 1; seq <= last_seq; seq += 1) {
    const { value } = await reader.next();
    expect((value as SessionEvent).seq).toBe(seq);
  }
  await reader.return();
});

it("a slow reader that began at the beginning gets the journal event when it reads on", async () => {
  await using world = await twoServers();
  const { session } = world;
  const { journal_id } = await session.info();
  const reader = session.events({ after: 0 });
  await reader.next();
  // More than may wait for a reader: it reads on from its position later.
  for (let n = 0; n < 5; n += 1) await session.execute("large 3000000");
  await world.replace();
  for await (const event of reader) {
    if (event.kind !== "journal") continue;
    expect(event.previous_journal_id).toBe(journal_id);
    return;
  }
  throw new Error("No journal event");
});

it("a reader without any event gets the journal event too, and so does a reader that starts later", async () => {
  await using world = await twoServers();
  const { session } = world;
  const { journal_id: before, last_seq } = await session.info();
  const reader = session.events();
  const next = reader.next();
  await session.execute("so that the reader gets an event");
  await next;
  await reader.return();
  const idle = session.events({ after: last_seq });
  const first = idle.next();
  await first;
  const fresh = await world.replace();
  const { journal_id } = await fresh.info();
  for await (const event of idle) {
    if (event.kind !== "journal") continue;
    expect(event.previous_journal_id).toBe(before);
    break;
  }
  const later = session.events({ after: `${before}:${last_seq}` });
  expect((await later.next()).value).toMatchObject({
    kind: "journal",
    journal_id,
  });
  expect((await later.next()).value).toMatchObject({ seq: 1 });
  await later.return();
});

it("code that waits for the connection does not run in the new session", async () => {
  await using world = await twoServers();
  const { session, proxy, client } = world;
  await session.execute("so that the client knows the journal");
  proxy.down();
  for await (const state of client.connection) if (state === "waiting") break;
  const waiting = session.execute("for the earlier session");
  const send = session.send({
    msg_type: "execute_request",
    content: { code: "also for the earlier session" },
  });
  const [error, sendError] = [failureOf(waiting), failureOf(send)];
  const fresh = await world.replace();
  const failed = await error;
  expect(isReplaced(failed)).toBe(true);
  expect(failed.message).toContain("has not run");
  expect(isReplaced(await sendError)).toBe(true);
  const { executions } = await fresh.executions.list();
  expect(executions.map(({ code }) => code)).toEqual(["hello"]);
});

it("an execution that was found by its id rejects", async () => {
  await using world = await twoServers();
  const pending = world.direct.execute("sleep 60000");
  for await (const event of pending) {
    if (event.type === "execute_input") break;
  }
  const found = world.session.execution(pending.execution_id);
  const ended = failureOf(found);
  const received = failureOf(
    collect(world.session.execution(pending.execution_id)),
  );
  await found.info();
  await world.replace();
  expect(await ended).toMatchObject({ reason: "execution_not_found" });
  expect(await received).toMatchObject({ reason: "execution_not_found" });
});

it("refuses a position that is not valid", async () => {
  await using world = await twoServers();
  const reader = world.session.events({ after: "somewhere" });
  await expect(reader.next()).rejects.toThrow(TypeError);
});
