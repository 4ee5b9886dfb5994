/** Lost connections: the program notices only a change of the connection's state. */
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import {
  connect,
  type ConnectionState,
  type Execution,
  type SessionEvent,
} from "../../client/index.ts";
import { clientOf, cuttable, open, urlOf } from "./harness.ts";

type Opened = Awaited<ReturnType<typeof open>>;

let opened: Opened;
beforeAll(async () => {
  opened = await open();
});
afterAll(() => opened[Symbol.asyncDispose]());

/** A client behind a proxy that can cut its connections, and a session that it uses. */
async function behindProxy() {
  const { server } = opened;
  const proxy = await cuttable(urlOf(server));
  const direct = await clientOf(server);
  const session = await direct.start("echo");
  const client = await connect({ url: proxy.url, token: server.token });
  return {
    proxy,
    client,
    session: client.session(session.session_id),
    /** The same session, on a connection that is never cut. */
    direct: session,
    async [Symbol.asyncDispose]() {
      client.close();
      await session[Symbol.asyncDispose]();
      direct.close();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

it("all events arrive once and in order, however often the connection is cut", async () => {
  await using world = await behindProxy();
  const { proxy, session } = world;
  const flood = 6_000;
  const execution = session.execute(`flood ${flood}`, { collect: false });
  let next = 1;
  for await (const event of execution) {
    if (event.type !== "stream") continue;
    for (const line of event.text.trimEnd().split("\n")) {
      expect(Number(line)).toBe(next);
      if (next % 700 === 0) proxy.cut();
      next += 1;
    }
  }
  expect(next).toBe(flood + 1);
  expect((await execution).status).toBe("ok");
});

it("the numbers of events continue without a gap after a lost connection", async () => {
  await using world = await behindProxy();
  const { proxy, session, direct } = world;
  const running = direct.execute("flood 2000");
  const seqs: number[] = [];
  for await (const event of session.events({ after: 0 })) {
    seqs.push(event.seq);
    if (event.seq % 500 === 0) proxy.cut();
    if (seqs.length === 2_000) break;
  }
  expect(seqs).toEqual(Array.from({ length: 2_000 }, (_, at) => at + 1));
  expect((await running).status).toBe("ok");
});

it("messages that are sent while the connection is down reach the kernel later, once and in order", async () => {
  await using world = await behindProxy();
  const { proxy, client, session, direct } = world;
  await session.execute("warm");
  const { last_seq } = await direct.info();
  proxy.down();
  await become(client.connection, "waiting");
  const waiting = Array.from({ length: 150 }, (_, at) =>
    session.execute(`code ${at}`),
  );
  proxy.up();
  const results = await Promise.all(waiting);
  expect(results.every(({ status }) => status === "ok")).toBe(true);
  const inputs: string[] = [];
  for await (const event of direct.events({ after: last_seq })) {
    const code = inputOf(event);
    if (code !== undefined) inputs.push(code);
    if (inputs.length === waiting.length) break;
  }
  expect(inputs).toEqual(waiting.map(({ code }) => code));
});

it("messages whose connection is cut during the sending reach the kernel once and in order", async () => {
  await using world = await behindProxy();
  const { proxy, session, direct } = world;
  await session.execute("warm");
  const { last_seq } = await direct.info();
  const sent: Execution[] = [];
  for (let round = 0; round < 20; round += 1) {
    for (let at = 0; at < 20; at += 1) {
      sent.push(session.execute(`code ${round}.${at}`));
    }
    const end = session.execute(`end ${round}`);
    sent.push(end);
    await end;
    for (let at = 0; at < 5; at += 1) {
      sent.push(session.execute(`cut ${round}.${at}`));
    }
    proxy.cut();
  }
  await Promise.all(sent);
  const inputs: string[] = [];
  for await (const event of direct.events({ after: last_seq })) {
    const code = inputOf(event);
    if (code !== undefined) inputs.push(code);
    if (inputs.length === sent.length) break;
  }
  expect(inputs).toEqual(sent.map(({ code }) => code));
});

it("a handle that was made while the connection is down waits for it", async () => {
  await using world = await behindProxy();
  const { proxy, client, direct } = world;
  proxy.down();
  await become(client.connection, "waiting");
  const handle = client.session(direct.session_id);
  const execution = handle.execute("x");
  const completions = handle.complete("flo");
  proxy.up();
  expect((await execution).status).toBe("ok");
  expect((await completions).matches).toEqual(["flood"]);
});

it("many readers of one client continue after a reconnection", async () => {
  await using world = await behindProxy();
  const { proxy, session } = world;
  const readers = Array.from({ length: 150 }, () =>
    session.events({ after: 0 }),
  );
  const firsts = await Promise.all(readers.map((reader) => reader.next()));
  expect(firsts.map(({ value }) => value?.seq)).toEqual(readers.map(() => 1));
  proxy.cut();
  await session.execute("the end");
  await Promise.all(
    readers.map(async (reader) => {
      for await (const event of reader) {
        if (inputOf(event) === "the end") break;
      }
    }),
  );
});

it("the connection reports each change of its state", async () => {
  await using world = await behindProxy();
  const { proxy, client } = world;
  const states: ConnectionState[] = [];
  const watching = (async () => {
    for await (const state of client.connection) states.push(state);
  })();
  proxy.down();
  await become(client.connection, "waiting");
  expect(client.connection.error?.message).toContain("lost");
  proxy.up();
  client.connection.reconnect();
  await become(client.connection, "open");
  expect(client.connection.error).toBeUndefined();
  client.connection.reconnect();
  await become(client.connection, "waiting");
  await become(client.connection, "open");
  client.close();
  await watching;
  expect(states[0]).toBe("open");
  expect(states).toContain("waiting");
  expect(states.at(-1)).toBe("closed");
});

it("a server that is restarted with another token closes the client with the reason", async () => {
  await using world = await behindProxy();
  const { proxy, client } = world;
  await using another = await open({ token: "another token" });
  const { port } = new URL(urlOf(another.server));
  proxy.to(Number(port));
  proxy.cut();
  await become(client.connection, "closed");
  expect(client.connection.error).toMatchObject({ reason: "unauthorized" });
});

it("pending executions reject if the session is gone after a reconnection", async () => {
  await using world = await behindProxy();
  const { proxy, client, session, direct } = world;
  const running = session.execute("input wait");
  for await (const event of running) if (event.type === "input_request") break;
  proxy.down();
  await become(client.connection, "waiting");
  await direct.kill();
  for await (const event of direct.events({ after: 0 })) {
    if (event.kind === "exited") break;
  }
  await direct.delete();
  proxy.up();
  await expect(running).rejects.toMatchObject({ reason: "session_not_found" });
});

it("after the machine has slept, the client checks the connection at once, and reconnects if it is dead", async () => {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  try {
    await using world = await behindProxy();
    const { client, proxy, session } = world;
    await session.execute("warm");
    proxy.stall();
    vi.setSystemTime(Date.now() + 3_600_000);
    vi.advanceTimersByTime(5_000);
    expect(client.connection.state).toBe("open");
    vi.advanceTimersByTime(5_000);
    expect(client.connection.state).toBe("waiting");
    await become(client.connection, "open");
    expect((await session.execute("awake")).status).toBe("ok");
  } finally {
    vi.useRealTimers();
  }
});

it.each([
  ["forwards", 3_600_000],
  ["backwards", -3_600_000],
])("a clock that is set %s costs no connection", async (_where, by) => {
  vi.useFakeTimers({ toFake: ["Date", "setInterval", "clearInterval"] });
  try {
    await using world = await behindProxy();
    const { client, session } = world;
    const states: string[] = [];
    await session.execute("warm");
    client.connection.subscribe((state) => states.push(state));
    for (let look = 0; look < 5; look += 1) {
      vi.setSystemTime(Date.now() + by);
      vi.advanceTimersByTime(5_000);
      expect((await session.execute(`${look}`)).status).toBe("ok");
    }
    expect(states).toEqual([]);
  } finally {
    vi.useRealTimers();
  }
});

it("a connection without any data is closed", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    await using world = await behindProxy();
    const { client, proxy, session } = world;
    await session.execute("warm");
    proxy.stall();
    vi.advanceTimersByTime(30_000);
    expect(client.connection.state).toBe("waiting");
    expect(client.connection.error?.message).toContain("sent nothing");
    await become(client.connection, "open");
    expect((await session.execute("again")).status).toBe("ok");
  } finally {
    vi.useRealTimers();
  }
});

it("a connection that only transports pings stays open", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  try {
    await using world = await behindProxy();
    const { client, session } = world;
    for (let round = 0; round < 3; round += 1) {
      vi.advanceTimersByTime(25_000);
      await session.execute("data after the answer to our ping");
      expect(client.connection.state).toBe("open");
    }
  } finally {
    vi.useRealTimers();
  }
});

it("events that are no longer kept are a gap", async () => {
  await using small = await open({
    limits: { journal_memory_bytes: 20_000, journal_disk_bytes: 0 },
  });
  await using client = await clientOf(small.server);
  await using session = await client.start("echo");
  const kinds: string[] = [];
  const running = session.execute("flood 1000");
  await running;
  const { last_seq } = await session.info();
  let next = 1;
  for await (const event of session.events({ after: 0 })) {
    kinds.push(event.kind);
    if (event.kind === "gap") expect(event.from).toBe(next);
    else expect(event.seq).toBe(next);
    next = event.seq + 1;
    if (event.seq >= last_seq) break;
  }
  expect(kinds[0]).toBe("gap");
});

async function become(
  connection: AsyncIterable<ConnectionState>,
  expected: ConnectionState,
): Promise<void> {
  for await (const state of connection) {
    if (state === expected) return;
  }
  throw new Error(`The connection was closed before its state was ${expected}`);
}

function inputOf(event: SessionEvent): string | undefined {
  return event.kind === "jupyter" && event.msg_type === "execute_input"
    ? event.content.code
    : undefined;
}
