/** A client's message reaches the kernel with its bytes unchanged, over every protocol, at any size. */
import { once } from "node:events";
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  test,
  vi,
} from "vitest";
import { WebSocket } from "ws";
import type { Message } from "../../src/jupyter/message.ts";
import { Sockets } from "../../src/kernel/sockets.ts";
import { openServer, type TestServer, TOKEN } from "../harness.ts";

const WRITTEN =
  '{"__proto__":{"x":1}, "constructor":{"prototype":{"polluted":true}},"big":9007199254740993,"f":1.0,"z":1e400}';
const headers = {
  authorization: `Bearer ${TOKEN}`,
  "content-type": "application/json",
};

const sent = vi.spyOn(Sockets.prototype, "send");
let server: TestServer;

beforeAll(async () => {
  server = await openServer();
  await server.start("echo", "s");
});
afterAll(() => server[Symbol.asyncDispose]());
beforeEach(() => {
  sent.mockClear();
});

type Ask = (
  address: { readonly rest: string; readonly procedure: string },
  input: string,
) => Promise<string>;

/** `input` is an object with `session_id`, which REST ignores beside the one in its path. */
const ways: Readonly<Record<string, Ask>> = {
  REST: ({ rest }, input) => post(`/sessions/s/${rest}`, input),
  "tRPC over HTTP": ({ procedure }, input) => post(`/trpc/${procedure}`, input),
  "a batch of tRPC": ({ procedure }, input) =>
    post(`/trpc/${procedure}?batch=1`, `{"0":${input}}`),
  "tRPC over a WebSocket": async ({ procedure }, input) => {
    const socket = new WebSocket(`${server.url.replace("http", "ws")}/trpc`, {
      headers,
    });
    await once(socket, "open");
    socket.send(
      `{"id":1,"method":"mutation","params":{"path":"${procedure}","input":${input}}}`,
    );
    const [answer] = (await once(socket, "message")) as [Buffer];
    socket.close();
    return answer.toString();
  },
};

async function post(path: string, body: string): Promise<string> {
  const answer = await fetch(server.url + path, {
    method: "POST",
    headers,
    body,
  });
  return answer.text();
}

/** Resolves with the message at the kernel that `isMeant` accepts. */
async function arrived(isMeant: (message: Message) => boolean) {
  const message = await vi.waitFor(() => {
    const found = sent.mock.calls.map(([each]) => each).find(isMeant);
    if (found === undefined) throw new Error("It was not sent");
    return found;
  });
  const { header, parent_header, metadata, content } = message.raw;
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
  return {
    header: text(header),
    parent_header: text(parent_header),
    metadata: text(metadata),
    content: text(content),
  };
}

const ofId = (id: string) => (message: Message) => message.header.msg_id === id;
const message = (id: string, more = "") => {
  const header = `{"msg_id":"${id}", "msg_type":"comm_msg","session":"c","username":"u","date":"2026-01-01T00:00:00Z","version":"5.3","more":${WRITTEN}}`;
  const parent = `{"msg_id":"p","msg_type":"comm_open","more":${WRITTEN}}`;
  return [
    header,
    parent,
    `{"session_id":"s","channel":"shell","header":${header},"parent_header":${parent},"metadata":${WRITTEN},"content":${WRITTEN},"buffers":[]${more}}`,
  ] as const;
};

describe.each(Object.entries(ways))("by %s", (name, ask) => {
  test("a message keeps its bytes", async () => {
    const id = `message by ${name}`;
    const [header, parent_header, text] = message(id);
    const address = { rest: "messages", procedure: "sessions.send" };
    expect(await ask(address, text)).toContain('"repeated":false');
    expect(await arrived(ofId(id))).toEqual({
      header,
      parent_header,
      metadata: WRITTEN,
      content: WRITTEN,
    });
  });

  test("the content of a request keeps its bytes", async () => {
    const address = { rest: "requests", procedure: "sessions.request" };
    const text = `{"session_id":"s","msg_type":"kernel_info_request","content":${WRITTEN}}`;
    expect(await ask(address, text)).toContain("kernel_info_reply");
    const { content } = await arrived(
      ({ header }) => header.msg_type === "kernel_info_request",
    );
    expect(content).toBe(WRITTEN);
  });

  const codes = { small: "hi", large: `#${"x".repeat(100_000)}` };
  test.each(Object.entries(codes))(
    "metadata and expressions of an execution keep their bytes, beside %s code",
    async (size, code) => {
      const id = `${size} execution by ${name}`;
      const address = { rest: "executions", procedure: "executions.create" };
      const requested = await ask(
        address,
        `{"session_id":"s","execution_id":"${id}","code":"${code}","user_expressions":${WRITTEN},"metadata":${WRITTEN}}`,
      );
      expect(requested).toContain('"big":9007199254740993,"f":1.0,"z":1e400}');
      const { metadata, content } = await arrived(ofId(id));
      expect(metadata).toBe(WRITTEN);
      expect(content).toContain(`"user_expressions":${WRITTEN}`);
      expect(JSON.parse(content)).toMatchObject({
        code,
        silent: false,
        store_history: true,
        allow_stdin: true,
        stop_on_error: true,
      });
    },
  );

  test("metadata of a synchronous execution keep their bytes", async () => {
    const address = { rest: "execute", procedure: "sessions.execute" };
    const code = `waited for by ${name}`;
    const text = `{"session_id":"s","code":"${code}","metadata":${WRITTEN}}`;
    expect(await ask(address, text)).toContain('"status":"ok"');
    const { metadata } = await arrived(({ raw }) =>
      Buffer.from(raw.content).includes(code),
    );
    expect(metadata).toBe(WRITTEN);
  });

  test("a value that is not an object is refused", async () => {
    const address = { rest: "executions", procedure: "executions.create" };
    const text = '{"session_id":"s","code":"1","metadata":[1]}';
    expect(await ask(address, text)).toContain("bad_request");
  });
});

test("over a channel, a message keeps its bytes", async () => {
  const at = server.url.replace("http", "ws");
  const socket = new WebSocket(`${at}/sessions/s/channels`, { headers });
  await once(socket, "open");
  const [header, parent_header, text] = message("by a channel");
  socket.send(text);
  expect(await arrived(ofId("by a channel"))).toEqual({
    header,
    parent_header,
    metadata: WRITTEN,
    content: WRITTEN,
  });
  socket.close();
});

test("no part of it stays in the server", () => {
  expect(Object.keys(Object.prototype)).toEqual([]);
  expect("polluted" in {}).toBe(false);
  expect("x" in {}).toBe(false);
});
