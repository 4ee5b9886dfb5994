import {
  createTRPCClient,
  createWSClient,
  wsLink,
  httpBatchLink,
} from "@trpc/client";
import { afterEach, describe, expect, test } from "vitest";
import type { AppRouter } from "../../contract/index.ts";
import {
  failure,
  mockKernel,
  stream,
  testServer,
  type TestServer,
} from "../../testing/index.ts";

const kernels = {
  python3: mockKernel({
    language: "python",
    on: { hi: stream("hi\n") },
  }),
};

describe.each([
  ["in memory", false],
  ["on a port", true],
] as const)("a test server %s", (_, listen) => {
  const open: TestServer[] = [];
  afterEach(async () => {
    await Promise.all(open.splice(0).map((one) => one[Symbol.asyncDispose]()));
  });
  async function opened(token?: string): Promise<TestServer> {
    const options = { kernels, ...(token !== undefined && { token }) };
    const server = listen
      ? await testServer({ ...options, listen })
      : await testServer(options);
    open.push(server);
    return server;
  }

  test("serves REST as the contract defines it", async () => {
    const server = await opened();
    const status = await server.fetch("/status");
    expect(await status.json()).toMatchObject({ sessions: 0, busy: false });
    const created = await server.fetch("/sessions", {
      method: "PUT",
      body: JSON.stringify({ session_id: "a", kernel_name: "python3" }),
    });
    expect(await created.json()).toEqual({ session_id: "a" });
    const started = await server.fetch("/sessions/a/start", { method: "POST" });
    expect(await started.json()).toMatchObject({
      language_info: { name: "python" },
    });
    const executed = await server.fetch("/sessions/a/execute", {
      method: "POST",
      body: JSON.stringify({ code: "hi" }),
    });
    expect(await executed.json()).toMatchObject({
      status: "ok",
      outputs: [{ text: "hi\n" }],
    });
    const again = await server.fetch("/sessions/a/start", { method: "POST" });
    expect(again.status).toBe(500);
    expect(await again.json()).toMatchObject({ error: { code: "KS-2" } });
    const wrong = await server.fetch("/sessions/b");
    expect(wrong.status).toBe(404);
    const nowhere = await server.fetch("/nowhere");
    expect(await nowhere.json()).toMatchObject({ reason: "not_found" });
  });

  test("JSON arrives unchanged over every transport of tRPC", async () => {
    const server = await opened();
    await server.start("python3", "a");
    const big = '{"m":{"big":9007199254740993,"f":1.0,"__proto__":{"x":1}}}';
    const at = server.url.replace("http", "ws");
    const channels = new server.WebSocket(`${at}/sessions/a/channels`);
    await new Promise<void>((resolve) => (channels.onopen = () => resolve()));
    channels.send(
      `{"channel":"shell","header":{"msg_id":"e","msg_type":"execute_request","session":"c","username":"u","date":"","version":"5.3"},"parent_header":{},"metadata":${big},"content":{"code":"hi"},"buffers":[]}`,
    );
    const ended = "/sessions/a/executions/e/wait";
    for (let status = 404; status === 404;) {
      ({ status } = await server.fetch(ended, { method: "POST" }));
    }
    channels.close();
    const of = JSON.stringify({ session_id: "a", execution_id: "e" });
    const query = `input=${encodeURIComponent(of)}`;
    const batch = `batch=1&input=${encodeURIComponent(`{"0":${of}}`)}`;
    const accept = { "trpc-accept": "application/jsonl" };
    for (const answer of [
      await server.fetch(`/trpc/executions.get?${query}`),
      await server.fetch(`/trpc/executions.get?${batch}`),
      await server.fetch(`/trpc/executions.get?${batch}`, { headers: accept }),
    ]) {
      expect(await answer.text()).toContain(`"metadata":${big}`);
    }
    const socket = new server.WebSocket(`${at}/trpc`);
    const frames: string[] = [];
    await new Promise<void>((resolve) => (socket.onopen = () => resolve()));
    const received = new Promise<void>((resolve) => {
      socket.onmessage = ({ data }: { readonly data: string }) => {
        frames.push(data);
        resolve();
      };
    });
    socket.send(
      `{"id":1,"method":"query","params":{"path":"executions.get","input":${of}}}`,
    );
    await received;
    socket.close();
    expect(frames.join("")).toContain(`"metadata":${big}`);
  });

  test("sends events as server-sent events until the reader disconnects", async () => {
    const server = await opened();
    const session = await server.start("python3", "a");
    await session.execute("hi");
    const answer = await server.fetch("/sessions/a/events?lastEventId=2");
    const reader = answer.body?.getReader() as
      ReadableStreamDefaultReader<Uint8Array> | undefined;
    let text = "";
    while (!text.includes("execute_reply")) {
      const { value = new Uint8Array() } = (await reader?.read()) ?? {};
      text += new TextDecoder().decode(value);
    }
    expect(text).toContain('"text":"hi\\n"');
    expect(text).toMatch(/^id: [0-9a-f]+:3$/m);
    await reader?.cancel();
  });

  test("serves tRPC over HTTP batches and WebSocket", async () => {
    const server = await opened("secret");
    await server.start("python3", "a");
    const http = createTRPCClient<AppRouter>({
      links: [
        httpBatchLink({
          url: `${server.url}/trpc`,
          fetch: server.fetch as never,
        }),
      ],
    });
    const [list, status] = await Promise.all([
      http.sessions.list.query(),
      http.server.status.query(),
    ]);
    expect([list.total, status.active]).toEqual([1, 1]);

    const line = createWSClient({
      url: `${server.url.replace("http", "ws")}/trpc`,
      WebSocket: server.WebSocket as never,
    });
    const ws = createTRPCClient<AppRouter>({
      links: [wsLink({ client: line })],
    });
    const received: string[] = [];
    const seen = new Promise<void>((resolve) => {
      ws.sessions.events.subscribe(
        { session_id: "a" },
        {
          onData: ({ id, data }) => {
            received.push(`${id} ${data.kind}`);
            if (data.kind === "jupyter" && data.header.msg_type === "stream") {
              resolve();
            }
          },
        },
      );
    });
    await ws.sessions.execute.mutate({ session_id: "a", code: "hi" });
    await seen;
    expect(received[0]).toMatch(/^[0-9a-f]+:1 status$/);
    await expect(
      ws.sessions.get.query({ session_id: "b" }),
    ).rejects.toMatchObject({
      data: { failure: { reason: "session_not_found" } },
    });
    await line.close();
  });

  test("serves a session's channels as Kallichore does, and the next client displaces the first", async () => {
    const server = await opened();
    await server.start("python3", "a");
    const url = `${server.url.replace("http", "ws")}/sessions/a/channels`;
    const first = new server.WebSocket(url);
    const frames: Record<string, unknown>[] = [];
    const closed = new Promise<unknown>((resolve) => {
      first.onclose = (event: { code: number }) => resolve(event.code);
    });
    const idle = new Promise<void>((resolve) => {
      first.onmessage = ({ data }: { data: string }) => {
        const frame = JSON.parse(data) as Record<string, unknown>;
        frames.push(frame);
        const { execution_state } = (frame["content"] ?? {}) as {
          execution_state?: string;
        };
        if (execution_state === "idle") resolve();
      };
    });
    await new Promise<void>((resolve) => {
      first.onopen = () => resolve();
    });
    first.send(
      JSON.stringify({
        channel: "shell",
        header: { msg_id: "m1", msg_type: "execute_request" },
        content: { code: "hi", silent: false },
      }),
    );
    await idle;
    expect(frames.map(({ kind }) => kind)).toContain("kernel");
    const second = new server.WebSocket(url);
    expect(await closed).toBe(4409);
    expect(frames.at(-1)).toHaveProperty("clientDisconnected");
    second.close();
  });

  test("refuses every client without the token", async () => {
    const server = await opened("secret");
    const refused = await server.fetch("/sessions", {
      headers: { authorization: "Bearer wrong", "x-span-id": "of-mine" },
    });
    expect(refused.status).toBe(401);
    expect(refused.headers.get("x-span-id")).toBe("of-mine");
    expect(await refused.json()).toMatchObject({ reason: "unauthorized" });
    const admitted = await server.fetch("/sessions");
    expect(admitted.status).toBe(200);
  });
});

test("an override replaces the answer of one operation, and can call the real one", async () => {
  await using server = await testServer({
    kernels,
    overrides: {
      sessions: {
        start: ({ session_id }) => {
          throw failure("start_failed", { session_id, why: "no luck today" });
        },
        list: async (_, real) => ({ ...(await real()), total: 42 }),
      },
    },
  });
  const failed = server.start();
  await expect(failed).rejects.toThrow("no luck today");
  const list = await server.fetch("/sessions");
  expect(await list.json()).toMatchObject({ total: 42, sessions: [{}] });
});

test("overrides that the contract does not allow do not compile", () => {
  const wrong = () =>
    testServer({
      overrides: {
        sessions: {
          // @ts-expect-error -- a session list is more than its total
          list: () => ({ total: "many" }),
        },
        server: {
          // @ts-expect-error -- no such operation
          begin: () => null,
        },
      },
    });
  const alsoWrong = () =>
    mockKernel({
      on: {
        // @ts-expect-error -- no such stream
        x: stream("x", "stdlog"),
      },
      // @ts-expect-error -- the status is one of four literals
      is_complete: () => ({ status: "maybe" }),
    });
  expect([wrong, alsoWrong]).toHaveLength(2);
});
