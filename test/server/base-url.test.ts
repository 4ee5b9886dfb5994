/** A server under a path: every protocol is below it, nothing beside it, and answers contain it. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { connect } from "../../client/index.ts";
import { basePathOf } from "../../src/server/base-path.ts";
import type { ServerOptions } from "../../src/serve.ts";
import { ask, openServer, temporaryFolder, TOKEN } from "../harness.ts";

async function under(basePath: string, more: ServerOptions = {}) {
  const server = await openServer({ basePath, ...more });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

const headers = { authorization: `Bearer ${TOKEN}` };

/** The status, or that the handshake succeeded; the socket is then closed. */
function upgrade(url: string): Promise<number> {
  const socket = new WebSocket(url.replace("http", "ws"), { headers });
  return new Promise((resolve) => {
    socket.on("error", () => {}); // follows the answer
    socket.once("open", () => {
      socket.close();
      resolve(101);
    });
    socket.once("unexpected-response", (req, { statusCode = 0 }) => {
      resolve(statusCode);
      req.destroy();
    });
  });
}

describe.each(["/user/ann/", "user/ann", "/a%40b/", "/a@b", "/with space/ü/"])(
  "a server under %s",
  (given) => {
    const { path: base } = basePathOf(given);

    test("serves every protocol below it", async () => {
      const server = await under(given);
      expect(server.server.basePath).toBe(base);
      expect(server.server.url?.endsWith(base)).toBe(true);
      for (const path of [
        "/status",
        "/sessions",
        "/docs",
        "/openapi.json",
        "/trpc/server.status",
        "/api",
        "/api/kernels",
        "/api/kernelspecs",
      ]) {
        expect((await server.ask("GET", base + path)).status, path).toBe(200);
      }
      const id = await startKernel(server, base);
      const origin = server.url.slice(0, -base.length);
      const { session_id } = (
        await server.ask("GET", `${base}/api/kernels/${id}`)
      ).body as { session_id: string };
      for (const path of [
        "/trpc",
        `/sessions/${session_id}/channels`,
        `/api/channels/${session_id}`,
        `/api/kernels/${id}/channels`,
      ]) {
        expect(await upgrade(origin + base + path), path).toBe(101);
        expect(await upgrade(origin + path), path).toBe(404);
      }
    });

    test("serves no other path, and says which path it serves", async () => {
      const server = await under(given);
      for (const path of [
        "/",
        "/status",
        "/api",
        "/sessions",
        `${base}x/api`,
      ]) {
        const answer = await server.ask("GET", path);
        expect(answer.status, path).toBe(404);
        expect(answer.body).toMatchObject({
          reason: "not_found",
          message: `There is nothing at ${path}: this server answers below ${base}/`,
        });
      }
      const escape = await server.ask("GET", `${base}/../status`);
      expect(escape.status).toBe(404);
      const foreign = { ...headers, host: "evil.example" };
      const host = await server.ask("GET", "/x", undefined, foreign);
      expect(host.status).toBe(403);
    });
  },
);

test.each([
  ["/a%40b/", "/a@b/api"],
  ["/a@b/", "/a%40b/api"],
  ["/user/Ü b", "/user/%c3%9c%20b/api"],
  ["/user", "/%75ser/api"],
])("a server under %s answers at %s", async (given, path) => {
  const server = await under(given);
  expect((await server.ask("GET", path)).status).toBe(200);
});

test.each([
  ["/a/b/", "/a%2fb/api"],
  ["/a%2Fb/", "/a/b/api"],
  ["/a/", "/A/api"],
  ["/a/", "/%zz/api"],
])("a server under %s does not answer at %s", async (given, path) => {
  const server = await under(given);
  expect((await server.ask("GET", path)).status).toBe(404);
});

test.each(["/%zz/", "/a?b", "/a#b"])(
  "%s is not valid as a server's path",
  (given) => {
    expect(() => basePathOf(given)).toThrow("A base path is a path");
  },
);

test("answers contain the path: locations, resources, the document", async () => {
  const base = "/user/a%40b";
  const folder = temporaryFolder();
  mkdirSync(join(folder, "drawn"));
  writeFileSync(
    join(folder, "drawn", "kernel.json"),
    JSON.stringify({ argv: ["x"], display_name: "Drawn", language: "x" }),
  );
  writeFileSync(join(folder, "drawn", "logo-svg.svg"), "<svg/>");
  const server = await under(`${base}/`, { kernelspecDirs: [folder] });

  const { body } = await server.ask("GET", `${base}/api/kernelspecs/drawn`);
  const { resources } = body as { resources: Record<string, string> };
  expect(resources).toEqual({
    "logo-svg": `${base}/kernelspecs/drawn/logo-svg.svg`,
  });
  const logo = await server.ask("GET", resources["logo-svg"] ?? "");
  expect([logo.status, logo.text]).toEqual([200, "<svg/>"]);

  const document = await server.ask("GET", `${base}/openapi.json`);
  expect(document.body).toMatchObject({ servers: [{ url: `${base}/` }] });
});

async function startKernel(
  server: Awaited<ReturnType<typeof under>>,
  base: string,
): Promise<string> {
  const made = await server.ask("POST", `${base}/api/kernels`, {
    name: "echo",
  });
  expect(made.status, made.text).toBe(201);
  const { id } = made.body as { id: string };
  expect(made.headers["location"]).toBe(`${base}/api/kernels/${id}`);
  return id;
}

test("a client with the path in its address runs code there", async () => {
  const server = await under("/user/a@b/");
  for (const url of [
    server.url,
    `${server.url}/`,
    server.url.replace("@", "%40"),
  ]) {
    await using client = await connect({ url, token: TOKEN });
    const session = await client.start("echo", { session_id: randomUUID() });
    expect((await session.execute("hello")).result).toEqual({
      "text/plain": "hello",
    });
  }
  const wrong = connect({ url: new URL(server.url).origin, token: TOKEN });
  await expect(wrong).rejects.toThrow("this server answers below /user/a@b/");
});

test("a client of a socket adds the path", async () => {
  const path = join(temporaryFolder(), "server.sock");
  const server = await under("/user/ann/", {
    address: { transport: "socket", path },
  });
  await using client = await connect({
    socketPath: path,
    basePath: "/user/ann",
    token: TOKEN,
  });
  const session = await client.start("echo");
  expect((await session.execute("hello")).result).toEqual({
    "text/plain": "hello",
  });
  const outside = await ask(
    { url: "", socketPath: server.socketPath },
    { method: "GET", path: "/sessions", headers },
  );
  expect(outside.status).toBe(404);
});

test("the events of a session are below the path", async () => {
  const server = await under("/user/ann");
  await using client = await connect({ url: server.url, token: TOKEN });
  const { session_id } = await client.start("echo");
  const events = await fetch(`${server.url}/sessions/${session_id}/events`, {
    headers,
  });
  let text = "";
  for await (const chunk of events.body ?? []) {
    text += Buffer.from(chunk).toString();
    if (text.includes("data: {")) break;
  }
  expect(text).toContain("data: {");
});

test("a channel that Jupyter's clients open carries messages", async () => {
  const server = await under("/a%40b");
  const id = await startKernel(server, "/a%40b");
  const url = `${server.url.replace("http", "ws")}/api/kernels/${id}/channels`;
  const socket = new WebSocket(url, { headers });
  const [data] = (await once(socket, "message")) as [Buffer];
  expect(JSON.parse(data.toString())).toMatchObject({ channel: "iopub" });
  socket.close();
});
