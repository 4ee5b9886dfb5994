/**
 * What a client of Jupyter's API relies on, point by point: the points that no
 * other file tests. Where the others are:
 *
 *  1 codes, `Location`: jupyter.test.ts, base-url.test.ts; headers: here
 *  2 dates: jupyter.test.ts, and here
 *  3 bodies: here
 *  4 ids that look odd: here
 *  5 one id is one kernel, one path is one session: jupyter.test.ts
 *  6 changes of a session: jupyter.test.ts
 *  7 kernelspecs: jupyter.test.ts, and here
 *  8 a base path: base-url.test.ts
 *  9 credentials: here
 * 10 both protocols with buffers: jupyter-frames.test.ts, and here
 * 11 tolerance of messages: here
 * 12 close codes: jupyter.test.ts; a close that the client does not complete: here
 * 13 a kernel that is killed: jupyter-status.test.ts, jupyter-clients.test.ts
 * 14 restarts: jupyter-clients.test.ts (`RESTARTS=100`); 15a here
 * 15 a busy kernel: jupyter.test.ts, and here
 * 16 two clients: jupyter.test.ts, and here
 * 17 a lost connection: jupyter.test.ts, jupyter-clients.test.ts
 * 18 a slow reader: here
 * 19 the state without a client: jupyter.test.ts
 * 20 a server that is stopped for a while: here, stress/stopped.test.ts, pings.test.ts
 * 21 culling: supervisor/culling.test.ts
 * 22 the token: here
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import { Room, useCommand } from "../command/kallichore.ts";
import {
  eventually,
  openServer,
  openServerOf,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";
import { needsPosix } from "../needs.ts";
import { ServerProcess } from "../stress/server-process.ts";
import { Client, opened, startKernel, V1 } from "./jupyter-client.ts";

useCommand();

async function openedInMemory(): Promise<TestServer> {
  const server = await openServerOf({ echo });
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

/** A request as it is written, without what the harness adds. */
async function send(
  server: TestServer,
  method: string,
  path: string,
  {
    body,
    ...headers
  }: Readonly<Record<string, string>> & { readonly body?: string },
): Promise<number> {
  const sent = request(`${server.url}${path}`, { method, headers });
  sent.end(body);
  const [answer] = (await once(sent, "response")) as [
    { statusCode: number; resume: () => void },
  ];
  answer.resume();
  return answer.statusCode;
}

const authorization = `token ${TOKEN}`;

test("1: every answer has the headers that Notebook's own tests compare", async () => {
  const server = await openedInMemory();
  const started = await server.ask("POST", "/api/kernels", { name: "echo" });
  const unknown = await server.ask("GET", "/api/kernels/nobody");
  const absent = await server.ask("GET", "/api/contents");
  for (const { headers } of [started, unknown, absent]) {
    expect(headers["content-security-policy"]).toBe(
      "frame-ancestors 'self'; report-uri /api/security/csp-report; default-src 'none'",
    );
    expect(headers["x-content-type-options"]).toBe("nosniff");
  }
  const path = "/api/security/csp-report";
  expect((await server.ask("POST", path, {})).status).toBe(204);
});

test.each([
  "/api/spec.yaml",
  "/api/swagger.json",
  "/api/swagger.yaml",
  "/_api/spec/swagger.json",
])("1: %s is the OpenAPI document", async (path) => {
  const server = await openedInMemory();
  const { status, body } = await server.ask("GET", path);
  expect(status).toBe(200);
  expect(body).toMatchObject({
    openapi: "3.1.0",
    paths: { "/api/kernels": {} },
  });
});

test("2: a model that has not changed is the same each time", async () => {
  const server = await openedInMemory();
  const { body: made } = await server.ask("POST", "/api/sessions", {
    path: "a.ipynb",
    type: "notebook",
    kernel: { name: "echo" },
  });
  for (let round = 0; round < 20; round += 1) {
    expect((await server.ask("GET", "/api/sessions")).body).toEqual([made]);
  }
});

describe("3: a body", () => {
  test.each([
    ["no type", {}],
    ["the type of JSON", { "content-type": "application/json" }],
  ])("is not needed, with %s", async (_, type) => {
    const server = await openedInMemory();
    const headers = { authorization, ...type };
    expect(await send(server, "POST", "/api/kernels", headers)).toBe(201);
    const [kernel] = (await server.ask("GET", "/api/kernels")).body as {
      readonly id: string;
    }[];
    const path = `/api/kernels/${kernel?.id}`;
    expect(await send(server, "POST", `${path}/interrupt`, headers)).toBe(204);
    expect(await send(server, "POST", `${path}/restart`, headers)).toBe(200);
    expect(await send(server, "GET", path, headers)).toBe(200);
    expect(await send(server, "DELETE", path, headers)).toBe(204);
  });

  test.each([
    "application/x-www-form-urlencoded",
    "text/plain",
    "multipart/form-data",
  ])("that is JSON is read as such, whatever %s says", async (type) => {
    const server = await openedInMemory();
    const headers = { authorization, "content-type": type };
    const body = JSON.stringify({ name: "echo" });
    expect(
      await send(server, "POST", "/api/kernels", { ...headers, body }),
    ).toBe(201);
    expect(
      await send(server, "POST", "/api/kernels", { ...headers, body: "[1]" }),
    ).toBe(400);
    expect(
      await send(server, "POST", "/api/kernels", { ...headers, body: "{" }),
    ).toBe(400);
  });
});

describe("4: an id that no kernel has", () => {
  test.each(["111-111-111-111-111", "abc", "%20"])(
    "%s is 404 in JSON, and no upgrade",
    async (id) => {
      const server = await openedInMemory();
      for (const [method, rest] of [
        ["GET", ""],
        ["DELETE", ""],
        ["POST", "/interrupt"],
        ["POST", "/restart"],
      ] as const) {
        const { status, body } = await server.ask(
          method,
          `/api/kernels/${id}${rest}`,
        );
        expect(status).toBe(404);
        expect(body).toMatchObject({ message: expect.any(String) as string });
      }
      const url = `${server.url.replace("http", "ws")}/api/kernels/${id}/channels?token=${TOKEN}`;
      const [error] = (await once(new WebSocket(url), "error")) as [Error];
      expect(error.message).toContain("404");
    },
  );
});

test("7: the name of a kernelspec is found in any case", async () => {
  const folder = temporaryFolder();
  const directory = join(folder, "kernels", "Sample 2");
  mkdirSync(directory, { recursive: true });
  const spec = { argv: ["true"], display_name: "A", language: "a" };
  writeFileSync(join(directory, "kernel.json"), JSON.stringify(spec));
  await using server = await openServer({
    kernelspecDirs: [join(folder, "kernels")],
    env: { PATH: process.env["PATH"], HOME: folder },
    embedded: [],
  });
  for (const name of ["Sample%202", "sample%202", "SAMPLE%202"]) {
    const { status, body } = await server.ask(
      "GET",
      `/api/kernelspecs/${name}`,
    );
    expect(status, name).toBe(200);
    expect(body).toMatchObject({ spec: { display_name: "A" } });
    const logo = await server.ask("GET", `/kernelspecs/${name}/logo-64x64.png`);
    expect(logo.status).toBe(404);
  }
});

describe("9: the token", () => {
  const ways: readonly (readonly [string, string, Record<string, string>])[] = [
    ["in a header as Bearer", "", { authorization: `Bearer ${TOKEN}` }],
    ["in a header as token", "", { authorization: `token ${TOKEN}` }],
    ["in a header as TOKEN", "", { authorization: `TOKEN ${TOKEN}` }],
    ["in the address", `?token=${TOKEN}`, {}],
  ];
  const refused: typeof ways = [
    ["is missing", "", {}],
    ["is wrong in a header", "", { authorization: "token wrong" }],
    ["is wrong in the address", "?token=wrong", {}],
    ["is empty", "?token=", { authorization: "token " }],
  ];

  async function answers(
    server: TestServer,
    id: string,
    query: string,
    headers: Record<string, string>,
  ): Promise<{ readonly rest: number[]; readonly socket: string }> {
    const rest: number[] = [];
    for (const path of ["/api/kernels", "/kernelspecs/echo/logo-64x64.png"]) {
      rest.push(await send(server, "GET", `${path}${query}`, headers));
    }
    const url = `${server.url.replace("http", "ws")}/api/kernels/${id}/channels${query}`;
    const socket = new WebSocket(url, { headers });
    const opened = once(socket, "open").then(() => "open");
    const closed = once(socket, "error").then(String);
    const outcome = await Promise.race([opened.catch(String), closed]);
    socket.terminate();
    return { rest, socket: outcome };
  }

  test.each(ways)("is taken %s", async (_, query, headers) => {
    const server = await openedInMemory();
    const id = await startKernel(server);
    expect(await answers(server, id, query, headers)).toEqual({
      rest: [200, 404],
      socket: "open",
    });
  });

  test.each(refused)("that %s is 403", async (_, query, headers) => {
    const server = await openedInMemory();
    const id = await startKernel(server);
    const { rest, socket } = await answers(server, id, query, headers);
    expect(rest).toEqual([403, 403]);
    expect(socket).toContain("403");
  });

  test("is not asked of a page that asks what it may do", async () => {
    const server = await openServerOf(
      { echo },
      { origins: ["https://page.example"] },
    );
    onTestFinished(() => server[Symbol.asyncDispose]());
    const origin = "https://page.example";
    expect(await send(server, "OPTIONS", "/api/kernels", { origin })).toBe(204);
  });
});

describe.each([
  ["v1", V1],
  ["the default protocol", ""],
])("10: buffers in %s", (_, protocol) => {
  test.each([
    ["none", []],
    ["one", [Buffer.from("one")]],
    ["two, one of them empty", [Buffer.alloc(0), Buffer.from([0, 255, 128])]],
    ["one of 50 MB", [Buffer.alloc(50_000_000, 7)]],
  ])("%s, to the kernel and back", async (_, buffers) => {
    const server = await opened();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol });
    client.send("comm_open", { comm_id: "c", target_name: "t", data: {} });
    const data = { text: "Zoë 𝄞 </script> \u2028" };
    const msg_id = client.send("comm_msg", { comm_id: "c", data }, { buffers });
    const back = await eventually(
      "what comes back",
      () =>
        client.received.find(
          ({ header, parent_header }) =>
            header.msg_type === "comm_msg" && parent_header.msg_id === msg_id,
        ),
      30_000,
    );
    expect(back.content["data"]).toEqual(data);
    expect(back.buffers).toHaveLength(buffers.length);
    for (const [index, buffer] of buffers.entries()) {
      expect(back.buffers[index]?.equals(buffer)).toBe(true);
    }
  });
});

describe("11: a message in the default protocol", () => {
  const content = { code: "hello" };
  const whole = {
    msg_type: "execute_request",
    username: "u",
    session: "s",
    version: "5.3",
    date: "2024-01-02T03:04:05.678Z",
  };
  const without = (...names: string[]) =>
    Object.fromEntries(
      Object.entries(whole).filter(([name]) => !names.includes(name)),
    );

  test.each<[string, (msg_id: string) => object]>([
    ["has no channel", (msg_id) => ({ header: { ...whole, msg_id } })],
    [
      "has a number as date",
      (msg_id) => ({ header: { ...whole, msg_id, date: 1.5 } }),
    ],
    ["has no date", (msg_id) => ({ header: { ...without("date"), msg_id } })],
    [
      "has no username, session and version",
      (msg_id) => ({
        header: { ...without("username", "session", "version"), msg_id },
      }),
    ],
    [
      "has its id and type beside the header",
      (msg_id) => ({ header: whole, msg_id, msg_type: "other" }),
    ],
    [
      "has its id and type only beside the header",
      (msg_id) => ({
        header: without("msg_type"),
        msg_id,
        msg_type: "execute_request",
      }),
    ],
    [
      "has an object in place of the list of buffers",
      (msg_id) => ({ header: { ...whole, msg_id }, buffers: {} }),
    ],
  ])("that %s is taken", async (_, message) => {
    const server = await openedInMemory();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol: "" });
    const msg_id = randomUUID();
    client.socket.send(
      JSON.stringify({
        parent_header: {},
        metadata: {},
        content,
        ...message(msg_id),
      }),
    );
    const answered = await client.answered(msg_id);
    expect(
      answered.find(({ header }) => header.msg_type === "stream")?.content,
    ).toMatchObject({ text: "hello" });
  });

  test("with escaped slashes is ordinary JSON", async () => {
    const server = await openedInMemory();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol: "" });
    const msg_id = randomUUID();
    const header = { ...whole, msg_id };
    const text = JSON.stringify({
      header,
      parent_header: {},
      metadata: {},
      content: { code: "</script>" },
    });
    client.socket.send(text.replace("</", "<\\/"));
    const answered = await client.answered(msg_id);
    expect(
      answered.find(({ header }) => header.msg_type === "stream")?.content,
    ).toMatchObject({ text: "</script>" });
  });

  test.each([
    ["an unknown channel", { channel: "other" }],
    ["iopub", { channel: "iopub" }],
  ])("for %s is passed over", async (_, channel) => {
    const server = await openedInMemory();
    const id = await startKernel(server);
    const client = await Client.open(server, id, { protocol: "" });
    const header = { ...whole, msg_id: "lost" };
    client.socket.send(JSON.stringify({ ...channel, header, content }));
    await client.answered(client.send("execute_request", content));
    const parents = client.received.map(({ parent_header: p }) => p.msg_id);
    expect(parents).not.toContain("lost");
    expect(client.code).toBeUndefined();
  });
});

test("12: a client that closes and reads no more is not counted as connected", async () => {
  const server = await openedInMemory();
  const id = await startKernel(server);
  const client = await Client.open(server, id);
  const connections = async () => {
    const { body } = await server.ask("GET", `/api/kernels/${id}`);
    return (body as { readonly connections: number }).connections;
  };
  expect(await connections()).toBe(1);
  client.socket.pause();
  client.socket.close();
  await eventually(
    "no connection",
    async () => ((await connections()) === 0 ? true : undefined),
    10_000,
  );
});

test("15: a client may connect to a busy kernel, sees that it is busy, and can interrupt it", async () => {
  const server = await openedInMemory();
  const id = await startKernel(server);
  const first = await Client.open(server, id);
  const runs = first.send("execute_request", { code: "sleep 60000" });
  await eventually("busy", () => first.states.find((one) => one === "busy"));

  const second = await Client.open(server, id);
  await eventually("the state", () => second.states[0]);
  expect(second.states[0]).toBe("busy");
  const path = `/api/kernels/${id}/interrupt`;
  expect((await server.ask("POST", path)).status).toBe(204);

  await first.answered(runs);
});

test("15a: of two sockets with one id, one of which nobody reads, the other is answered after each restart", async () => {
  const server = await openedInMemory();
  const id = await startKernel(server);
  const session_id = randomUUID();
  const unread = await Client.open(server, id, { session_id, protocol: "" });
  unread.socket.pause();
  const read = await Client.open(server, id, { session_id, protocol: "" });
  for (let round = 0; round < 20; round += 1) {
    const path = `/api/kernels/${id}/restart`;
    expect((await server.ask("POST", path)).status).toBe(200);
    await read.answered(read.send("kernel_info_request", {}));
  }
  expect([unread.code, read.code]).toEqual([undefined, undefined]);
});

test("16: an input request goes to the client whose code it is", async () => {
  const server = await openedInMemory();
  const id = await startKernel(server);
  const asking = await Client.open(server, id);
  const other = await Client.open(server, id);
  const content = { code: "input Name? ", allow_stdin: true };
  const msg_id = asking.send("execute_request", content);
  await eventually("the input request", () =>
    asking.received.find(({ channel }) => channel === "stdin"),
  );
  asking.send("input_reply", { value: "Ann" }, { channel: "stdin" });
  await asking.answered(msg_id);
  await eventually("the result", () =>
    other.received.find(({ header }) => header.msg_type === "execute_result"),
  );
  expect(other.received.map(({ channel }) => channel)).not.toContain("stdin");
});

test("18: a client that reads slowly does not hold another one up, and has everything in the end", async () => {
  const server = await opened();
  const id = await startKernel(server);
  const slow = await Client.open(server, id);
  const quick = await Client.open(server, id);
  slow.socket.pause();
  const COUNT = 20_000;
  const msg_id = quick.send("execute_request", { code: `flood ${COUNT}` });
  await eventually(
    "the end of the flood",
    () =>
      quick.received.some(
        ({ header, parent_header: p }) =>
          header.msg_type === "execute_reply" && p.msg_id === msg_id,
      )
        ? true
        : undefined,
    60_000,
  );
  slow.socket.resume();
  for (const client of [quick, slow]) {
    const texts = await eventually(
      "the whole text",
      () => {
        const streams = client.received.filter(
          ({ header }) => header.msg_type === "stream",
        );
        return streams.length === COUNT ? streams : undefined;
      },
      60_000,
    );
    expect(new Set(texts.map(({ content }) => content["text"])).size).toBe(
      COUNT,
    );
  }
});

test(
  "20: a server that is stopped for a while has its clients still, and they miss nothing",
  { timeout: 60_000, ...needsPosix },
  async () => {
    await using room = new Room();
    const server = await ServerProcess.in(room);
    const { session_id } = await server.witness("s");
    const url = `${server.url.replace("http", "ws")}/api/kernels/${session_id}/channels?session_id=a`;
    const socket = new WebSocket(url, { headers: { authorization } });
    onTestFinished(() => socket.terminate());
    const codes: number[] = [];
    const replies = new Set<string>();
    socket.on("close", (code) => codes.push(code));
    socket.on("message", (data: Buffer) => {
      const { parent_header } = JSON.parse(String(data)) as {
        readonly parent_header: { readonly msg_id?: string };
      };
      if (parent_header.msg_id !== undefined) replies.add(parent_header.msg_id);
    });
    await once(socket, "open");
    server.signal("SIGSTOP");
    const header = { msg_id: "m", msg_type: "kernel_info_request" };
    socket.send(JSON.stringify({ header, content: {} }));
    await new Promise((resolve) => setTimeout(resolve, STOP_MS));
    server.signal("SIGCONT");
    await eventually("the reply", () => (replies.has("m") ? true : undefined));
    expect(codes).toEqual([]);
  },
);

const STOP_MS = Number(process.env["STOP_S"] ?? 1) * 1000;

test(
  "22: the token is in no log, in no process list and in no kernel's environment",
  { timeout: 60_000, ...needsPosix },
  async () => {
    await using room = new Room();
    const server = await ServerProcess.in(room, ["--log-level", "trace"]);
    const { session_id } = await server.witness("s");
    const base = `${server.url}/api/kernels`;
    expect((await fetch(`${base}?token=${TOKEN}`)).status).toBe(200);
    expect((await fetch(`${base}/nobody?token=${TOKEN}`)).status).toBe(404);
    const url = `${base.replace("http", "ws")}/${session_id}/channels?token=${TOKEN}`;
    const name = "v1.token.websocket.jupyter.org";
    const socket = new WebSocket(url, [name, `${name}.${TOKEN}`]);
    await once(socket, "open");
    socket.send("no message");
    socket.terminate();
    const kernel = (await (
      await fetch(`${base}/${session_id}?token=${TOKEN}`)
    ).json()) as { readonly pid: number };
    const shown = [
      JSON.stringify(kernel),
      readFileSync(`/proc/${kernel.pid}/cmdline`, "utf8"),
      readFileSync(`/proc/${kernel.pid}/environ`, "utf8"),
      readFileSync(`/proc/${server.pid}/cmdline`, "utf8"),
      server.running.stderr,
    ];
    for (const text of shown) expect(text).not.toContain(TOKEN);
    expect(server.running.stderr).toContain(session_id); // it has logged something
  },
);
