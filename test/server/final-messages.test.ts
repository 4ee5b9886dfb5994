/** What clients receive when a server or a session ends: how the kernel ended, and then the close. */
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { get } from "node:http";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { embedServer } from "../../src/embed.ts";
import { MockProvisioner } from "../../testing/provisioner.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { trpcClient } from "../doors.ts";
import { ask, openServerOf, TOKEN } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

/** What each kind of client receives, in short, including its end. */
type Ends = Readonly<Record<"channel" | "tRPC" | "SSE", Promise<string[]>>>;

const authorization = `Bearer ${TOKEN}`;

/** Attaches a client of each kind; resolves when all are attached. */
async function attachAll(url: string, session: string): Promise<Ends> {
  const socket = new WebSocket(
    `${url.replace("http", "ws")}/sessions/${session}/channels`,
    { headers: { authorization } },
  );
  const received: string[] = [];
  socket.on("message", (data: Buffer) => {
    const { status, exited } = JSON.parse(data.toString()) as {
      status?: { status: string };
      exited?: number;
    };
    if (status !== undefined) received.push(status.status);
    if (exited !== undefined) received.push(`exited ${exited}`);
  });
  const channel = once(socket, "close").then((close) => {
    const [code, reason] = close as [number, Buffer];
    return [...received, `${code} ${reason.toString()}`];
  });
  await once(socket, "open");

  const { client, close } = trpcClient({ url } as never);
  onTestFinished(() => close());
  const reported: string[] = [];
  let attached = () => {};
  const isAttached = new Promise<void>((resolve) => (attached = resolve));
  const trpc = new Promise<string[]>((resolve, reject) => {
    client.sessions.events.subscribe(
      { session_id: session },
      {
        onStarted: () => attached(),
        onData: ({ data }) => reported.push(...shortly(data)),
        onComplete: () => resolve([...reported, "complete"]),
        onError: reject,
      },
    );
  });
  await isAttached;

  const path = `${url}/sessions/${session}/events`;
  const request = get(path, { headers: { authorization }, agent: false });
  const [response] = (await once(request, "response")) as [
    NodeJS.ReadableStream,
  ];
  const sse = (async () => {
    let text = "";
    for await (const piece of response) text += String(piece);
    const events = [...text.matchAll(/^data: (.*)$/gm)].map(
      ([, data = ""]) => JSON.parse(data) as object,
    );
    return [...events.flatMap(shortly), "end"];
  })();
  return { channel, tRPC: trpc, SSE: sse };
}

function shortly(event: object): string[] {
  const { kind, status, exit_code } = event as Record<string, unknown>;
  if (kind === "status") return [String(status)];
  return kind === "exited" ? [`exited ${String(exit_code)}`] : [];
}

const life = ["starting", "ready", "idle", "busy", "exited", "exited 0"];

async function expectEnds(ends: Ends, reason: string): Promise<void> {
  expect(await ends.channel).toEqual([...life, `1001 ${reason}`]);
  expect(await ends.tRPC).toEqual([...life, "complete"]);
  expect(await ends.SSE).toEqual([...life, "end"]);
}

test("when a server ends, all clients receive the ends of the kernels", async () => {
  const server = await openServerOf({ echo });
  const session = await server.start("echo");
  const ends = await attachAll(server.url, session);
  await server.ask("POST", "/shutdown");
  await server.server.shutdownRequested;
  await server[Symbol.asyncDispose]();
  await expectEnds(ends, "the server ends");
});

// A subscription was cut off before it was complete in one of a hundred cases.
test(
  "the same holds for an embedded server, and its host can then end",
  { repeats: 50 },
  async () => {
    const kernels = await embedServer({
      path: "/kernels",
      token: TOKEN,
      provisioner: new MockProvisioner({ echo }),
      kernelspecs: kernelspecsOf({ echo }, process.execPath),
    });
    const http = createServer(kernels.handle);
    http.on("upgrade", kernels.upgrade);
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    const { port } = http.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/kernels`;
    const headers = { authorization };
    const body = { session_id: "s", kernel_name: "echo" };
    await ask(
      { url },
      { method: "PUT", path: "/kernels/sessions", body, headers },
    );
    const path = "/kernels/sessions/s/start";
    await ask({ url }, { method: "POST", path, headers });
    const ends = await attachAll(url, "s");
    await kernels[Symbol.asyncDispose]();
    await expectEnds(ends, "the server ends");
    http.close();
    await once(http, "close");
  },
);

test("a deleted session reports its end after all messages", async () => {
  await using server = await openServerOf({ echo });
  const session = await server.start("echo");
  const ends = await attachAll(server.url, session);
  await server.ask("POST", `/sessions/${session}/shutdown`);
  await server.ask("DELETE", `/sessions/${session}`);
  await expectEnds(ends, "the session was deleted");
});

test("a session that is shut down keeps its clients", async () => {
  await using server = await openServerOf({ echo });
  const session = await server.start("echo");
  const ends = await attachAll(server.url, session);
  await server.ask("POST", `/sessions/${session}/shutdown`);
  await server.ask("POST", `/sessions/${session}/start`);
  await server.ask("POST", `/sessions/${session}/shutdown`);
  await server.ask("DELETE", `/sessions/${session}`);
  expect(await ends.channel).toEqual([
    ...life,
    ...life,
    "1001 the session was deleted",
  ]);
});

test("a client that does not read does not delay the end", async () => {
  const server = await openServerOf({ echo });
  const session = await server.start("echo");
  const url = `${server.url.replace("http", "ws")}/sessions/${session}/channels`;
  const socket = new WebSocket(url, { headers: { authorization } });
  await once(socket, "open");
  socket.pause();
  socket.on("error", () => {}); // it is disconnected
  for (let times = 0; times < 3; times += 1) {
    await server.ask("POST", `/sessions/${session}/execute`, {
      code: `large ${16 * 1024 * 1024}`,
    });
  }
  await server[Symbol.asyncDispose](); // two seconds for the final messages, one for the close
  socket.terminate();
}, 30_000);
