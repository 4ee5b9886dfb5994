import { expect, test } from "vitest";
import {
  installMockKernel,
  type MockKernel,
  TestSession,
} from "../../testing/index.ts";
import {
  createTRPCClient,
  httpLink,
  splitLink,
  wsLink,
  createWSClient,
} from "@trpc/client";
import { WebSocket } from "ws";
import type { AppRouter } from "../../contract/index.ts";
import {
  openServer,
  temporaryFolder,
  TOKEN,
  type TestServer,
} from "../harness.ts";
import * as scripts from "./scripts.ts";

const module = new URL("./scripts.ts", import.meta.url);
const nodeOptions = ["--import", "tsx"];

async function opened(names: Readonly<Record<string, MockKernel>>) {
  const folder = temporaryFolder();
  for (const [name, kernel] of Object.entries(names)) {
    const exported = name === "mock" ? "default" : name;
    installMockKernel({ name, module, exported, kernel, folder, nodeOptions });
  }
  const server = await openServer({
    kernelspecDirs: [`${folder}/kernels`, folder],
  });
  return server;
}

function clientOf(server: TestServer) {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const line = createWSClient({
    url: `${server.url.replace("http", "ws")}/trpc`,
    WebSocket: class extends WebSocket {
      constructor(url: string) {
        super(url, { headers });
      }
    } as never,
  });
  const trpc = createTRPCClient<AppRouter>({
    links: [
      splitLink({
        condition: ({ type }) => type === "subscription",
        true: wsLink({ client: line }),
        false: httpLink({ url: `${server.url}/trpc`, headers }),
      }),
    ],
  });
  return { trpc, [Symbol.asyncDispose]: () => line.close() };
}

test("the same script runs as a process with real sockets", async () => {
  await using server = await opened({ mock: scripts.default });
  await using client = clientOf(server);
  const session = await TestSession.start(client.trpc, "mock", "a");
  expect(session.kernel_info).toMatchObject({
    implementation: "kallichore-mock",
    language_info: { name: "python" },
  });
  const { transcript } = session;
  expect(await session.execute("hi")).toMatchObject({
    outputs: [{ text: "hi\n" }],
  });
  expect(await session.execute("sum")).toMatchObject({
    outputs: [{ data: { "text/plain": "5" }, execution_count: 2 }],
  });
  expect(await session.execute("fail")).toMatchObject({ status: "error" });
  expect(await session.execute("broken")).toMatchObject({
    outputs: [{ text: "after" }],
  });
  expect(await session.execute("late")).toMatchObject({ status: "ok" });
  expect(
    await session.request("complete_request", { code: "pr", cursor_pos: 2 }),
  ).toMatchObject({ matches: ["print"] });

  const ask = await session.run("ask");
  expect(await transcript.untilPrompt()).toBe("Name? ");
  await session.answer("Ada");
  expect(await transcript.outputs(ask)).toMatchObject([{ text: "Hello Ada" }]);

  const show = await session.run("show");
  await transcript.outputs(show);
  expect(
    await transcript.until(
      "the buffers",
      (event) => event.kind === "jupyter" && event.buffers.length > 0,
    ),
  ).toMatchObject({ buffers: ["AQI="] });

  const sleep = await session.run("sleep");
  await transcript.until(
    "the sleep",
    (event) =>
      event.kind === "jupyter" &&
      event.parent_header?.msg_id === sleep &&
      event.header.msg_type === "execute_input",
  );
  await session.interrupt();
  expect(await transcript.untilReply(sleep)).toMatchObject({
    ename: "KeyboardInterrupt",
  });

  await session.execute("print");
  await transcript.until(
    "the process's own output",
    (event) => event.kind === "output" && event.text === "raw\n",
  );
  await session.run("die");
  expect(
    await transcript.until("exit", ({ kind }) => kind === "exited"),
  ).toMatchObject({ exit_code: 7 });
});

test.each(["registering", "positron"] as const)(
  "a mocked kernel registers its own ports: %s",
  async (name) => {
    await using server = await opened({ [name]: scripts[name] });
    await using client = clientOf(server);
    await server.start(name, "a", { protocol_version: "5.5" });
    expect(
      await client.trpc.sessions.execute.mutate({
        session_id: "a",
        code: "hi",
      }),
    ).toMatchObject({ outputs: [{ text: "hi\n" }] });
  },
);

test("the failed start of a process that ends at once contains its output", async () => {
  await using server = await opened({ stillborn: scripts.stillborn });
  await expect(server.start("stillborn")).rejects.toThrow("no module named x");
});
