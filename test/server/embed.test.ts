import { once } from "node:events";
import { readdirSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  request as httpRequest,
  type ServerResponse,
} from "node:http";
import type { AddressInfo } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { connect } from "../../client/index.ts";
import { embedServer, type Telemetry } from "../../src/index.ts";
import { ask, eventually, temporaryFolder, TOKEN } from "../harness.ts";
import { installKernelspecs } from "../kernels/index.ts";

/** An HTTP server of a program, with this server under `/kernels`. */
async function embedded(telemetry: Telemetry = {}) {
  const kernelspecs = temporaryFolder();
  installKernelspecs(kernelspecs);
  const folder = temporaryFolder();
  const server = await embedServer({
    path: "/kernels/",
    token: TOKEN,
    kernelspecDirs: [kernelspecs],
    runtimeDirectory: folder,
    telemetry,
  });
  const http = createServer((req, res) =>
    server.handle(req, res, () => res.end("theirs")),
  );
  http.on("upgrade", server.upgrade);
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  onTestFinished(async () => {
    await server[Symbol.asyncDispose]();
    http.close();
    http.closeAllConnections();
  });
  const origin = `http://127.0.0.1:${(http.address() as AddressInfo).port}`;
  return { server, http, origin, url: `${origin}/kernels`, folder };
}

const headers = { authorization: `Bearer ${TOKEN}` };

test("answers under its path, and leaves other paths to its host", async () => {
  const { origin } = await embedded();
  const get = (path: string, sent: Record<string, string> = headers) =>
    ask({ url: origin }, { method: "GET", path, headers: sent });
  expect((await get("/kernels/sessions")).body).toMatchObject({ total: 0 });
  expect((await get("/kernels/sessions", {})).status).toBe(401);
  expect((await get("/kernels/nothing")).status).toBe(404);
  expect((await get("/kernels/trpc/server.status")).status).toBe(200);
  expect((await get("/kernels/docs")).status).toBe(200);
  for (const path of ["/", "/sessions", "/kernelspecs", "/kernels-of-others"]) {
    expect((await get(path)).text).toBe("theirs");
  }
});

test("answers with the request's own span, also after it has ended", async () => {
  const { server, origin } = await embedded();
  const span = async (path: string, more: Record<string, string> = {}) => {
    const sent = { ...headers, "x-span-id": "of-mine", ...more };
    const answer = await ask(
      { url: origin },
      { method: "GET", path, headers: sent },
    );
    return [answer.status, answer.headers["x-span-id"]];
  };
  const upgrade = { connection: "upgrade", upgrade: "websocket" };
  expect(await span("/kernels/sessions")).toEqual([200, "of-mine"]);
  expect(await span("/kernels/none", upgrade)).toEqual([404, "of-mine"]);
  await server[Symbol.asyncDispose]();
  expect(await span("/kernels/sessions")).toEqual([404, "of-mine"]);
  expect(await span("/kernels/none", upgrade)).toEqual([404, "of-mine"]);
});

test.each(["REST", "a large batch of tRPC"])(
  "a wait ends if its client left before the host passed its request on: %s",
  async (protocol) => {
    const ended: string[] = [];
    const { server, origin, http } = await embedded({
      operation: ({ name }) => ended.push(name),
    });
    const post = (path: string, body: object) =>
      ask({ url: origin }, { method: "POST", path, body, headers });
    const kernel = await post("/kernels/api/kernels", { name: "echo" });
    const execute = `${String(kernel.headers["location"])}/execute`;
    const sent = await post(execute, { code: "sleep 600000" });
    const input = { ...(sent.body as object), wait: 60 };
    const path =
      protocol === "REST"
        ? `${String(sent.headers["location"])}?wait=60`
        : batchPath("jupyter.request", Array<object>(60).fill(input));
    http.removeAllListeners("request");
    const arrived = once(http, "request") as Promise<
      [IncomingMessage, ServerResponse]
    >;
    const wait = httpRequest(origin + path, { headers });
    wait.on("error", () => {}); // the test ends the connection
    wait.end();
    const [req, res] = await arrived;
    const left = once(res, "close");
    wait.destroy();
    await left;

    server.handle(req, res);

    await eventually("the end of the wait", () =>
      ended.includes("jupyter.request") ? true : undefined,
    );
    await server[Symbol.asyncDispose]();
  },
);

/** One request that calls the procedure with each input. */
function batchPath(procedure: string, inputs: readonly object[]): string {
  const path = inputs.map(() => procedure).join(",");
  const input = encodeURIComponent(
    JSON.stringify(Object.fromEntries(inputs.entries())),
  );
  return `/kernels/trpc/${path}?batch=1&input=${input}`;
}

test("serves a session over the port of its host, and ends it", async () => {
  const { server, http, url, folder } = await embedded();
  const client = await connect({ url, token: TOKEN });
  onTestFinished(() => client.close());
  const session = await client.start("echo");
  const { result } = await session.execute("hello");
  expect(result).toEqual({ "text/plain": "hello" });
  const channels = new WebSocket(
    `${url.replace("http", "ws")}/sessions/${session.session_id}/channels`,
    { headers },
  );
  await once(channels, "message");

  const closed = once(channels, "close");
  await server[Symbol.asyncDispose]();
  expect((await closed)[0]).toBe(1001);
  expect(server.supervisor.sessions).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
  expect(http.listening).toBe(true);
  const after = await ask({ url }, { method: "GET", path: "/kernels/status" });
  expect(after.status).toBe(404);
  const late = new WebSocket(`${url.replace("http", "ws")}/trpc`, { headers });
  const [error] = (await once(late, "error")) as [Error];
  expect(error.message).toContain("404");
});

test("ends a stream of events that a client still reads", async () => {
  const { server, url } = await embedded();
  const client = await connect({ url, token: TOKEN });
  onTestFinished(() => client.close());
  const { session_id } = await client.start("echo");
  const answer = await fetch(`${url}/sessions/${session_id}/events`, {
    headers,
  });
  const reader = answer.body?.getReader();
  await reader?.read();
  await server[Symbol.asyncDispose]();
  const rest = async () => {
    while ((await reader?.read())?.done === false);
  };
  await expect(rest()).resolves.toBeUndefined();
});

test("works if a framework has removed its path", async () => {
  const { server } = await embedded();
  const mounting = createServer((req: IncomingMessage & Mounted, res) => {
    req.originalUrl = req.url;
    req.url = req.url?.slice("/kernels".length) ?? "";
    server.handle(req, res);
  });
  mounting.listen(0, "127.0.0.1");
  await once(mounting, "listening");
  onTestFinished(() => void mounting.close());
  const url = `http://127.0.0.1:${(mounting.address() as AddressInfo).port}`;
  const answer = await ask(
    { url },
    { method: "GET", path: "/kernels/sessions?a=1", headers },
  );
  expect(answer.body).toMatchObject({ total: 0 });
});

interface Mounted {
  originalUrl?: string | undefined;
}
