/** Principals and their scopes, over every protocol. */
import { join } from "node:path";
import { createTRPCClient, httpLink } from "@trpc/client";
import { describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { AppRouter, Scope } from "../../contract/index.ts";
import { connect } from "../../client/index.ts";
import { VERSION as CLIENT_VERSION } from "../../client/version.ts";
import { VERSION } from "../../src/package/version.ts";
import { mockKernel } from "../../testing/index.ts";
import type { ServerOptions } from "../../src/serve.ts";
import {
  ask,
  eventually,
  framesOf,
  openServerOf,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";

const echo = mockKernel({ on: [[/./, []]] });

const bearer = { authorization: `Bearer ${TOKEN}` };

/** A header of the request names its scopes. */
function openLimited(address?: ServerOptions["address"]): Promise<TestServer> {
  return openServerOf(
    { echo },
    {
      ...(address !== undefined && { address }),
      scopesOf: ({ headers }) =>
        String(headers["x-scopes"] ?? "observe execute control admin")
          .split(" ")
          .filter((scope): scope is Scope => scope !== ""),
    },
  );
}

function as(scopes: string): Record<string, string> {
  return { ...bearer, "x-scopes": scopes };
}

describe("a principal with fewer scopes", () => {
  test("gets a refusal over REST that names the missing scope", async () => {
    await using server = await openLimited();
    await server.start("echo");
    const ask = (method: string, path: string, body?: unknown) =>
      server.ask(method, path, body, as("observe"));
    expect((await ask("GET", "/sessions/echo")).status).toBe(200);
    for (const [method, path, body, scope] of [
      ["POST", "/sessions/echo/executions", { code: "1" }, "execute"],
      ["POST", "/sessions/echo/shutdown", undefined, "control"],
      ["POST", "/sessions/echo/start", undefined, "control"],
      ["GET", "/sessions/echo/connection_info", undefined, "admin"],
      ["POST", "/shutdown", undefined, "admin"],
    ] as const) {
      const answer = await ask(method, path, body);
      expect(answer.status, path).toBe(403);
      expect(JSON.stringify(answer.body), path).toContain(
        `needs the scope \`${scope}\`; you have observe`,
      );
    }
    const { status } = await ask("GET", "/status");
    expect(status).toBe(200);
  });

  test("gets a refusal over tRPC with a reason that programs can check", async () => {
    await using server = await openLimited();
    await server.start("echo");
    const trpc = createTRPCClient<AppRouter>({
      links: [httpLink({ url: `${server.url}/trpc`, headers: as("observe") })],
    });
    const requested = trpc.sessions.shutdown.mutate({ session_id: "echo" });
    await expect(requested).rejects.toMatchObject({
      data: { httpStatus: 403, failure: { reason: "forbidden" } },
    });
    const { total } = await trpc.sessions.list.query();
    expect(total).toBe(1);
  });

  test("needs the scope of the message's type", async () => {
    await using server = await openLimited();
    await server.start("echo");
    const send = (msg_type: string, scopes: string) =>
      server.ask(
        "POST",
        "/sessions/echo/messages",
        {
          channel: "control",
          header: { msg_id: `${msg_type}-${scopes}`, msg_type },
          content: {},
        },
        as(scopes),
      );
    expect((await send("kernel_info_request", "observe")).status).toBe(202);
    expect((await send("debug_request", "observe")).status).toBe(403);
    expect((await send("shutdown_request", "observe execute")).status).toBe(
      403,
    );
    expect((await send("shutdown_request", "control")).status).toBe(202);
    const request = { msg_type: "complete_request", content: {} };
    const path = "/sessions/echo/requests";
    const requested = await server.ask("POST", path, request, as("observe"));
    expect(requested.status).toBe(403);
  });

  test("may open a channel to run code, and gets an answer to forbidden requests", async () => {
    await using server = await openLimited();
    await server.start("echo");
    const socket = channel(server, as("observe execute"));
    const frames = framesOf(socket) as readonly Frame[];
    await opened(socket);
    const send = (msg_id: string, msg_type: string, content: object) =>
      socket.send(
        JSON.stringify({
          channel: "shell",
          header: { msg_id, msg_type },
          content,
        }),
      );
    send("end-it", "shutdown_request", { restart: false });
    send("run-it", "execute_request", { code: "1" });
    const replyTo = (id: string) =>
      eventually(id, () =>
        frames.find(
          ({ header, parent_header }) =>
            parent_header?.msg_id === id && header?.msg_type.endsWith("_reply"),
        ),
      );
    expect(await replyTo("end-it")).toMatchObject({
      channel: "shell",
      header: { msg_type: "shutdown_reply" },
      content: { status: "error", ename: "Forbidden" },
    });
    expect(await replyTo("run-it")).toMatchObject({
      content: { status: "ok" },
    });
    expect((await server.ask("GET", "/sessions/echo")).body).toMatchObject({
      status: "idle",
    });
    socket.terminate();
  });

  test("that may only observe does not displace the owner of a channel", async () => {
    await using server = await openLimited();
    await server.start("echo");
    const owner = channel(server, bearer);
    await opened(owner);
    const refused = channel(server, as("observe"));
    expect(await answered(refused)).toBe(403);
    expect((await server.ask("GET", "/sessions/echo")).body).toMatchObject({
      connected: true,
    });
    owner.terminate();
  });
});

test.skipIf(process.platform === "win32").each([
  ["observe execute control", 403],
  ["observe execute control admin", 200],
])(
  "a principal with the scopes %s gets for a session's own socket: %i",
  async (scopes, expected) => {
    const path = join(temporaryFolder(), "s.sock");
    await using server = await openLimited({ transport: "socket", path });
    await server.start("echo");
    const asked = { method: "GET", path: "/sessions/echo/channels" };
    const plain = await ask(
      { url: server.url, socketPath: path },
      { ...asked, headers: as(scopes) },
    );
    expect(plain.status).toBe(expected);
    // The key of the RFC's example, as clients without a WebSocket library send it.
    const upgrade = {
      connection: "Upgrade",
      upgrade: "websocket",
      "sec-websocket-version": "13",
      "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    };
    const answer = await ask(
      { url: server.url, socketPath: path },
      { ...asked, headers: { ...as(scopes), ...upgrade } },
    );
    expect(answer.status).toBe(expected);
  },
);

describe("an execution names the program that requested it", () => {
  const requested = async (
    server: TestServer,
    headers: Readonly<Record<string, string>>,
  ): Promise<unknown> => {
    const { body } = await server.ask(
      "POST",
      "/sessions/echo/executions",
      { code: "1" },
      { ...bearer, ...headers },
    );
    return (body as { requested_by: unknown }).requested_by;
  };

  test.each([
    [{}, null],
    [{ "user-agent": "axios/1.7.2" }, { client: "axios", version: "1.7.2" }],
    [{ "user-agent": "node" }, { client: "node", version: null }],
    [
      {
        "user-agent":
          "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36",
      },
      { client: "Chrome", version: "130.0.0.0" },
    ],
    [
      { "user-agent": "axios/1.7.2", "x-client": "my-app/2.0" },
      { client: "my-app", version: "2.0" },
    ],
    [{ "user-agent": "(nothing that is a product)" }, null],
    [{ "x-client": `${"a".repeat(65)}/1` }, null],
  ])("from %j it reads %j", async (headers, expected) => {
    await using server = await openServerOf({ echo });
    await server.start("echo");
    expect(await requested(server, headers)).toEqual(expected);
  });

  test("and our client names itself, also in messages of a channel", async () => {
    await using server = await openServerOf({ echo });
    await server.start("echo");
    await using client = await connect({ url: server.url, token: TOKEN });
    await client.session("echo").execute("1");
    await using named = await connect({
      url: server.url,
      token: TOKEN,
      client: "notebook/3.1",
    });
    await named.session("echo").execute("2");
    const socket = channel(server, { ...bearer, "user-agent": "positron/1.0" });
    await opened(socket);
    socket.send(
      JSON.stringify({
        channel: "shell",
        header: { msg_id: "by-channel", msg_type: "execute_request" },
        content: { code: "3" },
      }),
    );
    const path = "/sessions/echo/executions";
    const list = await eventually("three", async () => {
      const { body } = await server.ask("GET", path);
      const { executions } = body as {
        executions: { requested_by: unknown }[];
      };
      return executions.length === 3 ? executions : undefined;
    });
    expect(list.map(({ requested_by }) => requested_by)).toEqual([
      { client: "kallichore-client", version: CLIENT_VERSION },
      { client: "notebook", version: "3.1" },
      { client: "positron", version: "1.0" },
    ]);
    expect(JSON.stringify(list)).not.toContain(TOKEN);
    socket.terminate();
  });

  test("and the client's version is the package's", () => {
    expect(CLIENT_VERSION).toBe(VERSION);
  });
});

interface Frame {
  readonly header?: { readonly msg_type: string };
  readonly parent_header?: { readonly msg_id: string } | null;
  readonly [more: string]: unknown;
}

function channel(
  server: TestServer,
  headers: Readonly<Record<string, string>>,
): WebSocket {
  const url = `${server.url.replace("http", "ws")}/sessions/echo/channels`;
  return new WebSocket(url, { headers });
}

function opened(socket: WebSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("open", () => resolve());
    socket.once("error", reject);
  });
}

/** The status with which an upgrade was refused. */
function answered(socket: WebSocket): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    socket.once("open", () => reject(new Error("It was let in")));
    socket.once("unexpected-response", (req, { statusCode }) => {
      resolve(statusCode);
      req.destroy();
    });
    socket.on("error", () => {});
  });
}
