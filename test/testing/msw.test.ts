import { once } from "node:events";
import {
  createTRPCClient,
  createWSClient,
  httpBatchLink,
  wsLink,
} from "@trpc/client";
import { setupServer } from "msw/node";
import { expect, onTestFinished, test, vi } from "vitest";
import { WebSocket } from "ws";
import { connect } from "../../client/index.ts";
import type { AppRouter, SessionEvent } from "../../contract/index.ts";
import { input, mockKernel, stream } from "../../testing/index.ts";
import { failure, type HandlerOptions, handlers } from "../../testing/msw.ts";

const base = "http://kallichore.test/api";
const global = globalThis as { WebSocket?: unknown };
global.WebSocket ??= WebSocket; // Node 20 has no WebSocket, and MSW replaces the global one

function mocked(options: HandlerOptions = {}) {
  const all = handlers({
    baseUrl: base,
    kernels: {
      python3: mockKernel({
        on: {
          hi: stream("hi\n"),
          ask: input("Name? ", (name) => stream(`Hello ${name}`)),
        },
      }),
    },
    ...options,
  });
  const server = setupServer(...all);
  server.listen({ onUnhandledRequest: "error" });
  onTestFinished(async () => {
    await all[Symbol.asyncDispose]();
    server.close();
  });
  return all;
}

function trpcOverHttp() {
  return createTRPCClient<AppRouter>({
    links: [httpBatchLink({ url: `${base}/trpc` })],
  });
}

function trpcOverSocket() {
  const line = createWSClient({
    url: `${base.replace("http", "ws")}/trpc`,
    WebSocket: global.WebSocket as never,
    retryDelayMs: () => 0,
  });
  onTestFinished(() => line.close());
  return createTRPCClient<AppRouter>({ links: [wsLink({ client: line })] });
}

async function ask(method: string, path: string, body?: unknown) {
  const answer = await fetch(base + path, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: answer.status, body: await answer.json() };
}

async function started() {
  await ask("PUT", "/sessions", { session_id: "a", kernel_name: "python3" });
  await ask("POST", "/sessions/a/start");
}

test("a front end's REST calls find a server", async () => {
  mocked();
  await started();
  expect(
    await ask("POST", "/sessions/a/execute", { code: "hi" }),
  ).toMatchObject({ status: 200, body: { outputs: [{ text: "hi\n" }] } });
  expect(await ask("GET", "/sessions/b")).toMatchObject({
    status: 404,
    body: { code: "KS-1" },
  });
  expect(await ask("GET", "/nothing")).toMatchObject({
    status: 404,
    body: { reason: "not_found" },
  });
});

test("tRPC batches and subscriptions find a server, and prompts are answered", async () => {
  mocked();
  await started();
  const http = trpcOverHttp();
  const [list, specs] = await Promise.all([
    http.sessions.list.query(),
    http.kernelspecs.list.query(),
  ]);
  expect([list.total, specs.default]).toEqual([1, "python3"]);

  const socket = trpcOverSocket();
  const output = new Promise<SessionEvent>((resolve) => {
    socket.sessions.events.subscribe(
      { session_id: "a" },
      {
        onData: ({ data }) => {
          if (data.kind !== "jupyter") return;
          if (data.header.msg_type === "input_request") {
            void socket.sessions.send.mutate({
              session_id: "a",
              channel: "stdin",
              header: { msg_id: "answer", msg_type: "input_reply" },
              content: { value: "Ada" },
            });
          }
          if (data.header.msg_type === "stream") resolve(data);
        },
      },
    );
  });
  await socket.sessions.send.mutate({
    session_id: "a",
    channel: "shell",
    header: { msg_id: "ask", msg_type: "execute_request" },
    content: { code: "ask", allow_stdin: true },
  });
  expect(await output).toMatchObject({ content: { text: "Hello Ada" } });
});

test.each([undefined, "secret"])(
  "our client finds a server, its token being %s",
  async (token) => {
    mocked(token === undefined ? {} : { token });
    await using client = await connect({ url: base, token });
    await using session = await client.start("python3");
    const asking = session.execute("ask");
    for await (const event of asking) {
      if (event.type === "input_request") await asking.answer("Ada");
    }
    expect((await asking).outputs).toMatchObject([{ text: "Hello Ada" }]);
  },
);

test("the client learns that its socket is refused", async () => {
  const all = mocked();
  all.fault({ unauthorized: true });
  await expect(connect({ url: base })).rejects.toMatchObject({
    reason: "unauthorized",
  });
});

test("a WebSocket that MSW does not mock is refused with a reason", async () => {
  const printed = vi.spyOn(console, "error").mockReturnValue();
  onTestFinished(() => printed.mockRestore());
  mocked();
  const socket = new WebSocket(`${base.replace("http", "ws")}/trpc`);
  const [error] = (await once(socket, "error")) as [Error];
  expect(error.message).toContain("500");
  expect(String(printed.mock.calls[0]?.[0])).toContain(
    "MSW mocks only that: in Node 20 set globalThis.WebSocket",
  );
});

test("an unexpected error in an override is printed to the console", async () => {
  const printed = vi.spyOn(console, "error").mockReturnValue();
  onTestFinished(() => printed.mockRestore());
  mocked({
    overrides: {
      sessions: {
        list: () => {
          throw new TypeError("a slip of mine");
        },
      },
    },
  });
  await expect(trpcOverHttp().sessions.list.query()).rejects.toThrow();
  expect((await ask("GET", "/sessions")).status).toBe(500);
  const slips = printed.mock.calls.filter(
    ([, argument]) =>
      (argument as { err?: Error }).err?.message === "a slip of mine",
  );
  expect(slips).toHaveLength(2); // once for each door
});

test("a channel's WebSocket carries frames both ways", async () => {
  mocked();
  await started();
  const socket = new (global.WebSocket as typeof WebSocket)(
    `${base.replace("http", "ws")}/sessions/a/channels`,
  );
  const text = await new Promise<string>((resolve) => {
    socket.onopen = () =>
      socket.send(
        JSON.stringify({
          channel: "shell",
          header: { msg_id: "m", msg_type: "execute_request" },
          content: { code: "hi" },
        }),
      );
    socket.onmessage = ({ data }) => {
      const text = data as string;
      if (text.includes('"stream"')) resolve(text);
    };
  });
  expect(JSON.parse(text)).toMatchObject({ content: { text: "hi\n" } });
  socket.close();
});

test("an operation is overridden in every protocol", async () => {
  mocked({
    overrides: {
      sessions: {
        start: ({ session_id }) => {
          throw failure("start_failed", { session_id, why: "no luck" });
        },
      },
    },
  });
  await ask("PUT", "/sessions", { session_id: "a", kernel_name: "python3" });
  expect(await ask("POST", "/sessions/a/start")).toMatchObject({
    status: 500,
    body: { error: { reason: "start_failed" } },
  });
  await expect(
    trpcOverHttp().sessions.start.mutate({ session_id: "a" }),
  ).rejects.toThrow("no luck");
});

test("an operation that is not mocked fails with an error that names it", async () => {
  mocked({ operations: ["server.status"] });
  expect(await ask("GET", "/status")).toMatchObject({ status: 200 });
  expect(JSON.stringify(await ask("GET", "/sessions"))).toContain(
    "sessions.list is not mocked",
  );
  await expect(trpcOverHttp().sessions.list.query()).rejects.toThrow(
    "sessions.list is not mocked",
  );
});

test("faults start and end: 401, slowness, sockets that break", async () => {
  const all = mocked();
  await started();
  all.fault({ unauthorized: ["sessions.list"] });
  expect(await ask("GET", "/sessions")).toMatchObject({ status: 401 });
  expect(await ask("GET", "/status")).toMatchObject({ status: 200 });

  all.fault({ dropAfter: 3 });
  const socket = new (global.WebSocket as typeof WebSocket)(
    `${base.replace("http", "ws")}/sessions/a/channels`,
  );
  let messages = 0;
  const code = await new Promise<number>((resolve) => {
    socket.onopen = () =>
      socket.send(
        JSON.stringify({
          channel: "shell",
          header: { msg_id: "m", msg_type: "execute_request" },
          content: { code: "hi" },
        }),
      );
    socket.onmessage = () => (messages += 1);
    socket.onclose = (event) => resolve(event.code);
  });
  expect([messages, code]).toEqual([3, 1006]);

  all.fault({ delay_ms: 5 });
  expect(await ask("GET", "/status")).toMatchObject({ status: 200 });
  all.fault();
  expect(await ask("GET", "/sessions")).toMatchObject({ status: 200 });
});

test("open sockets break on demand, and open again when the fault has ended", async () => {
  const all = mocked();
  await using client = await connect({ url: base });
  await using session = await client.start("python3");
  await session.execute("hi");
  const until = async (expected: string) => {
    for await (const state of client.connection) if (state === expected) return;
  };
  all.fault({ dropAfter: 0 });
  await until("waiting");
  await until("connecting"); // the server refuses it
  await until("waiting");
  expect((await client.status()).sessions).toBe(1); // HTTP goes on
  const pending = session.execute("hi");
  all.fault();
  expect((await pending).outputs).toMatchObject([{ text: "hi\n" }]);
  expect(client.connection.state).toBe("open");
});

test("names that the contract does not have do not compile", () => {
  const wrong = [
    // @ts-expect-error -- no such operation
    () => handlers({ operations: ["sessions.begin"] }),
    () =>
      handlers({
        // @ts-expect-error -- a status has more to say
        overrides: { server: { status: () => ({ sessions: 1 }) } },
      }),
  ];
  expect(wrong).toHaveLength(2);
});
