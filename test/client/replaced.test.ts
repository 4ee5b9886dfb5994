/** The server was started again, and a session of the same id is there: nobody waits in silence, and nothing runs that was meant for the one before. */
import { expect, it } from "vitest";
import {
  connect,
  type SessionEvent,
  SupervisorError,
} from "../../client/index.ts";
import { clientOf, collect, cuttable, open, urlOf } from "./harness.ts";

const token = "the-same-token";

/** A client of a server behind a line; `replace` puts another server there, with a session of the same id that has said something. */
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

it("what was pending fails by name, and says that it may have run", async () => {
  await using world = await twoServers();
  const { session } = world;
  const pending = session.execute("sleep 60000");
  for await (const said of pending) {
    if (said.type === "execute_input") break;
  }
  const comm = await session.comms.attach("some-comm");
  const asked = session.request("inspect_request", {}, { timeout_ms: 60_000 });
  const [replyError, commError] = [
    failureOf(asked),
    failureOf(comm[Symbol.asyncIterator]().next()),
  ];
  await world.replace();
  const error = await failureOf(pending);
  expect(isReplaced(error)).toBe(true);
  expect(error.message).toContain("may have run");
  expect(isReplaced(await replyError)).toBe(true);
  expect(isReplaced(await commError)).toBe(true);
  // And the handle goes on with the new one.
  expect((await session.execute("again")).status).toBe("ok");
});

it("a reader hears that the journal is another one, and goes on with it from its beginning", async () => {
  await using world = await twoServers();
  const { session } = world;
  const before = await session.info();
  const reader = session.events({
    after: `${before.journal_id}:${before.last_seq - 1}`,
  });
  const last = await reader.next();
  expect((last.value as SessionEvent).seq).toBe(before.last_seq);
  const coming = (async () => {
    for (;;) {
      const { value } = await reader.next();
      if (value?.kind !== "resource_usage") return value;
    }
  })();
  const fresh = await world.replace();
  const { journal_id, last_seq } = await fresh.info();
  expect(await coming).toEqual({
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

it("a reader that had heard nothing yet is told as well, and so is one that comes back later", async () => {
  await using world = await twoServers();
  const { session } = world;
  const { journal_id: before, last_seq } = await session.info();
  const reader = session.events();
  const coming = reader.next();
  await session.execute("so that it listens");
  await coming;
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

it("code that waits for the line is not run in the session that is new", async () => {
  await using world = await twoServers();
  const { session, proxy, client } = world;
  await session.execute("so that it knows which session it is");
  proxy.down();
  for await (const state of client.connection) if (state === "waiting") break;
  const waiting = session.execute("meant for the one before");
  const send = session.send({
    msg_type: "execute_request",
    content: { code: "likewise" },
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

it("an execution that was found by its id settles", async () => {
  await using world = await twoServers();
  const pending = world.direct.execute("sleep 60000");
  for await (const said of pending) {
    if (said.type === "execute_input") break;
  }
  const found = world.session.execution(pending.execution_id);
  const ended = failureOf(found);
  const heard = failureOf(
    collect(world.session.execution(pending.execution_id)),
  );
  await found.info();
  await world.replace();
  expect(await ended).toMatchObject({ reason: "execution_not_found" });
  expect(await heard).toMatchObject({ reason: "execution_not_found" });
});

it("refuses a position that is none", async () => {
  await using world = await twoServers();
  const reader = world.session.events({ after: "somewhere" });
  await expect(reader.next()).rejects.toThrow(TypeError);
});
