/** Resuming: a position names the journal, in all subscriptions. */
import { afterAll, beforeAll, expect, it } from "vitest";
import type { SessionEvent } from "../../contract/index.ts";
import { openServerOf, type TestServer, TOKEN } from "../harness.ts";
import { trpcClient } from "../doors.ts";
import { echo } from "../kernels/echo-script.ts";

let server: TestServer;
let count = 0;

beforeAll(async () => {
  server = await openServerOf({ echo });
});
afterAll(() => server[Symbol.asyncDispose]());

interface Tracked {
  readonly id: string;
  readonly data: SessionEvent;
}
/** The first events after that position, this many of them. */
type Read = (
  session_id: string,
  lastEventId: string | undefined,
  count: number,
) => Promise<Tracked[]>;

const doors: Record<string, Read> = {
  async "tRPC over WebSocket"(session_id, lastEventId, count) {
    const { client, close } = trpcClient(server);
    const received = await subscribed(
      client,
      { session_id, lastEventId },
      count,
    );
    await close();
    return received;
  },
  "tRPC over HTTP"(session_id, lastEventId, count) {
    const input = JSON.stringify({ session_id, lastEventId });
    const query = new URLSearchParams({ input }).toString();
    return streamed(`/trpc/sessions.events?${query}`, {}, count);
  },
  "server-sent events": (session_id, lastEventId, count) =>
    streamed(
      `/sessions/${session_id}/events`,
      { ...(lastEventId !== undefined && { "last-event-id": lastEventId }) },
      count,
    ),
};

/** Server-sent events that have an id. */
async function streamed(
  path: string,
  more: Record<string, string>,
  count: number,
): Promise<Tracked[]> {
  const left = new AbortController();
  const answer = await fetch(`${server.url}${path}`, {
    headers: {
      authorization: `Bearer ${TOKEN}`,
      accept: "text/event-stream",
      ...more,
    },
    signal: left.signal,
  });
  if (!answer.ok || answer.body === null) throw new Error(await answer.text());
  let text = "";
  const received: Tracked[] = [];
  for await (const piece of answer.body.pipeThrough(new TextDecoderStream())) {
    text += piece;
    const whole = text.split("\n\n");
    text = whole.pop() ?? "";
    for (const block of whole) {
      const [, id] = /^id: (.*)$/m.exec(block) ?? [];
      const [, json] = /^data: (.*)$/m.exec(block) ?? [];
      if (id === undefined || json === undefined) continue;
      received.push({ id, data: JSON.parse(json) as SessionEvent });
    }
    if (received.length >= count) break;
  }
  left.abort();
  return received.slice(0, count);
}

function subscribed(
  client: ReturnType<typeof trpcClient>["client"],
  input: { session_id: string; lastEventId: string | undefined },
  count: number,
): Promise<Tracked[]> {
  const received: Tracked[] = [];
  return new Promise((resolve, reject) => {
    const subscription = client.sessions.events.subscribe(input, {
      onData(event) {
        received.push(event);
        if (received.length < count) return;
        subscription.unsubscribe();
        resolve(received.slice(0, count));
      },
      onError: reject,
    });
  });
}

async function journalOf(session_id: string): Promise<string> {
  const { body } = await server.ask("GET", `/sessions/${session_id}`);
  return (body as { journal_id: string }).journal_id;
}

/** The same id, another session. */
async function makeAnew(session_id: string): Promise<void> {
  await server.ask("POST", `/sessions/${session_id}/shutdown`);
  await server.ask("DELETE", `/sessions/${session_id}`);
  await server.start("echo", session_id);
}

it.each(Object.entries(doors))(
  "over %s, ids contain the journal and the number, and a reader can resume after either",
  async (name, read) => {
    const session = await server.start(
      "echo",
      `ids-${name}`.replace(/\W/g, ""),
    );
    const journal = await journalOf(session);
    const [first, second] = await read(session, undefined, 2);
    expect(first?.id).toBe(`${journal}:1`);
    expect(second?.id).toBe(`${journal}:2`);
    for (const position of [`${journal}:1`, "1"]) {
      const [next] = await read(session, position, 1);
      expect(next).toEqual(second);
    }
  },
);

it.each(Object.entries(doors))(
  "over %s, a reader of another journal gets an event, and reads this one from its beginning",
  async (name, read) => {
    const session = await server.start(
      "echo",
      `new-${name}`.replace(/\W/g, ""),
    );
    const before = await journalOf(session);
    await makeAnew(session);
    const now = await journalOf(session);
    expect(now).not.toBe(before);
    const [told, first] = await read(session, `${before}:4711`, 2);
    expect(told).toEqual({
      id: `${now}:0`,
      data: {
        kind: "journal",
        seq: 0,
        journal_id: now,
        previous_journal_id: before,
      },
    });
    expect(first?.id).toBe(`${now}:1`);
    // It is in no journal, and a reader that has received it does not get it again.
    const [again] = await read(session, told?.id, 1);
    expect(again).toEqual(first);
  },
);

it.each([
  "",
  ":",
  "x",
  "a:",
  ":5",
  "-1",
  "1.5",
  "12345678901234567",
  "a b:1",
  'a":1',
  "a:b:1",
  `${"x".repeat(65)}:1`,
])("refuses the position %j, and names the field", async (lastEventId) => {
  const session = await server.start("echo", `refuses-${(count += 1)}`);
  const query = new URLSearchParams({ lastEventId }).toString();
  const rest = await server.ask("GET", `/sessions/${session}/events?${query}`);
  expect(rest.status).toBe(400);
  expect(rest.text).toContain("lastEventId");
  const path = `/sessions/${session}/executions/x/events?${query}`;
  const follow = await server.ask("GET", path);
  expect(follow.status).toBe(400);
  expect(follow.text).toContain("lastEventId");
  const { client, close } = trpcClient(server);
  const input = { session_id: session, lastEventId };
  await expect(subscribed(client, input, 1)).rejects.toThrow("lastEventId");
  await close();
});

it("a reader with a position of another journal gets an execution from its beginning", async () => {
  const session = await server.start("echo", "followed");
  const before = await journalOf(session);
  await makeAnew(session);
  const now = await journalOf(session);
  const requested = { code: "hello", execution_id: "mine" };
  await server.ask("POST", `/sessions/${session}/executions`, requested);
  await server.ask("POST", `/sessions/${session}/executions/mine/wait`, {});
  const path = `/sessions/${session}/executions/mine/events?lastEventId=`;
  const { text } = await server.ask("GET", `${path}${before}:3`);
  const received = [...text.matchAll(/^data: (.*)$/gm)].map(
    ([, json = ""]) => JSON.parse(json) as SessionEvent,
  );
  expect(received[0]).toMatchObject({ kind: "journal", journal_id: now });
  const whole = await server.ask("GET", `${path}0`);
  expect(whole.text.match(/^data: /gm)).toHaveLength(received.length - 1);
});

it("a request for an earlier session of the same id does not reach the new one", async () => {
  const session = await server.start("echo", "meant");
  const journal_id = await journalOf(session);
  const code = (id: string) => ({
    code: "hello",
    execution_id: id,
    journal_id,
  });
  const executions = `/sessions/${session}/executions`;
  const taken = await server.ask("POST", executions, code("one"));
  expect(taken.status).toBe(201);
  await makeAnew(session);
  const refused = await server.ask("POST", executions, code("two"));
  expect(refused.status).toBe(409);
  expect(refused.body).toMatchObject({ reason: "session_replaced" });
  const message = await server.ask("POST", `/sessions/${session}/messages`, {
    journal_id,
    channel: "shell",
    header: { msg_id: "three", msg_type: "execute_request" },
    content: { code: "hello" },
  });
  expect(message.body).toMatchObject({ reason: "session_replaced" });
  const list = await server.ask("GET", executions);
  expect(list.body).toMatchObject({ executions: [] });
});
