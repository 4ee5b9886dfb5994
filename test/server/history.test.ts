/** The history of executions, as in later versions of Kallichore, over REST, tRPC and the channels. */
import { once } from "node:events";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { doors } from "../doors.ts";
import {
  eventually,
  type Frame,
  framesOf,
  openServerOf,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

let server: TestServer;
let count = 0;
beforeAll(async () => {
  server = await openServerOf({ echo });
});
afterAll(() => server[Symbol.asyncDispose]());

function started(more: Frame = {}): Promise<string> {
  return server.start("echo", `echo-${(count += 1)}`, more);
}

async function run(session: string, code: string, more: Frame = {}) {
  const path = `/sessions/${session}/execute`;
  const answer = await server.ask("POST", path, { code, ...more });
  expect(answer.status).toBe(200);
}

test("the history lists the executions, oldest first, and the session has the last three", async () => {
  const session = await started();
  const attribution = { source: "script", agent_name: "me" };
  await run(session, "first");
  await run(session, "error because", { stop_on_error: false });
  await run(session, "third", { metadata: { attribution } });
  await run(session, "unheard", { silent: true });
  await run(session, "fourth");
  const { status, body } = await server.ask(
    "GET",
    `/sessions/${session}/history`,
  );
  expect(status).toBe(200);
  const time = expect.any(Number) as number;
  const history = [
    entry("first"),
    {
      ...entry("error because"),
      output: "",
      error: {
        name: "EchoError",
        message: "because",
        traceback: ["Traceback:", "EchoError"],
      },
    },
    { ...entry("third"), source: "script", agent: "me" },
    entry("fourth"),
  ];
  expect(body).toEqual(history);
  const details = await server.ask("GET", `/sessions/${session}`);
  expect(details.body).toMatchObject({ history: history.slice(1) });
  const { body: list } = await server.ask("GET", "/sessions");
  const listed = (list as { sessions: Frame[] }).sessions.at(-1);
  expect(listed).toMatchObject({ history: history.slice(1) });

  function entry(input: string) {
    const output = `${input}${input}\n`; // as a stream, and as the result
    return { input, output, timestamp: time, truncated: false };
  }
});

test("the history of a new session is empty, and an unknown session is an error", async () => {
  const session = await started();
  const empty = await server.ask("GET", `/sessions/${session}/history`);
  expect(empty.body).toEqual([]);
  const none = await server.ask("GET", "/sessions/nowhere/history");
  expect(none.status).toBe(404);
});

test("the status says that there is no MCP listener", async () => {
  const { body } = await server.ask("GET", "/status");
  expect(body).toMatchObject({
    mcp: { active: false, port: 0, request_count: 0, workspaces: [] },
  });
});

test("the workspace of a session is kept, and is in the events of its executions", async () => {
  const session = await started({ workspace_id: "the-workspace" });
  const { body } = await server.ask("GET", `/sessions/${session}`);
  expect(body).toMatchObject({ workspace_id: "the-workspace" });
  const frames = await channelOf(session);
  const attribution = { source: "agent", agent_name: "Claude" };
  await run(session, "hello", { metadata: { attribution } });
  const requested = await eventually("executionRequested", () =>
    frames.findIndex((frame) => "executionRequested" in frame) >= 0
      ? frames.findIndex((frame) => "executionRequested" in frame)
      : undefined,
  );
  expect(frames[requested]).toEqual({
    kind: "kernel",
    executionRequested: {
      msg_id: expect.any(String) as string,
      code: "hello",
      requested_at: expect.stringMatching(/^\d{4}-\d\d-\d\dT.*Z$/) as string,
      attribution: {
        ...attribution,
        agent_version: null,
        workspace_id: "the-workspace",
        tool: "execute_code",
      },
    },
  });
  const { msg_id } = frames[requested]?.["executionRequested"] as {
    msg_id: string;
  };
  const result = await eventually("the result", () => {
    const at = frames.findIndex(
      ({ header, parent_header }) =>
        (parent_header as Frame | null)?.["msg_id"] === msg_id &&
        (header as Frame)["msg_type"] === "execute_result",
    );
    return at < 0 ? undefined : at;
  });
  const first = frames.findIndex(
    ({ parent_header }) =>
      (parent_header as Frame | null | undefined)?.["msg_id"] === msg_id,
  );
  expect(first).toBeGreaterThan(requested);
  expect(result).toBeGreaterThan(requested);
});

test("a client that connects later also gets the attribution", async () => {
  const session = await started();
  const attribution = { source: "agent" };
  await run(session, "hello", { metadata: { attribution } });
  const frames = await channelOf(session);
  await eventually("executionRequested", () =>
    frames.find((frame) => "executionRequested" in frame),
  );
});

test("an attribution that Kallichore does not have is sent only to clients that request all events", async () => {
  const attribution = { source: "interactive" };
  const metadata = { attribution };
  const session = await started();
  await run(session, "hello", { metadata });
  const plain = await channelOf(session);
  await eventually("the end of it", () =>
    plain.find(
      ({ header }) =>
        (header as Frame | undefined)?.["msg_type"] === "execute_reply",
    ),
  );
  expect(plain.some((frame) => "executionRequested" in frame)).toBe(false);
  const all = await channelOf(session, "?events=all");
  await run(session, "again", { metadata });
  await eventually("executionRequested", () =>
    all.find((frame) => "executionRequested" in frame),
  );
});

test.each(doors)(
  "over $name the event arrives before all output",
  async (door) => {
    const session = await started();
    await using client = await door.attach(server, session);
    const attribution = { source: "agent", workspace_id: "w" };
    await run(session, "hello", { metadata: { attribution } });
    const { seq } = await client.until("who asked", ({ kind }) =>
      ["execution_requested", "executionRequested"].includes(kind),
    );
    const busy = await client.until(
      "busy",
      ({ content }) => content?.["execution_state"] === "busy",
    );
    expect(seq).toBeLessThan(busy.seq);
  },
);

async function channelOf(
  session: string,
  query = "",
): Promise<readonly Frame[]> {
  const url = server.url.replace("http", "ws");
  const headers = { authorization: `Bearer ${TOKEN}` };
  const socket = new WebSocket(`${url}/sessions/${session}/channels${query}`, {
    headers,
  });
  onTestFinished(() => socket.terminate());
  const frames = framesOf(socket);
  await once(socket, "open");
  return frames;
}
