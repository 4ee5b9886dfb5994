/** How the server answers requests, valid and others: limits, methods, and access. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { type AddressInfo, connect, type Socket } from "node:net";
import {
  afterAll,
  beforeAll,
  describe,
  expect,
  onTestFinished,
  test,
  vi,
} from "vitest";
import { WebSocket } from "ws";
import { limits } from "../../contract/limits.ts";
import { embedServer } from "../../src/index.ts";
import { Faults } from "../../src/log/faults.ts";
import { bodyOf } from "../../src/server/request-body.ts";
import { sendFailure } from "../../src/server/respond.ts";
import { toFailure } from "../../src/server/answers/router.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { memoryServer } from "../../testing/memory-server.ts";
import { MockProvisioner } from "../../testing/provisioner.ts";
import {
  eventually,
  openServerOf,
  temporaryFolder,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

let server: TestServer;
beforeAll(async () => {
  server = await openServerOf({ echo });
  await server.start("echo", "s");
});
afterAll(() => server[Symbol.asyncDispose]());

const authorization = `Bearer ${TOKEN}`;
const port = () => Number(new URL(server.url).port);

/** Writes bytes on a new connection; resolves with the answer when `enough` holds, or at the end. */
async function raw(
  write: (socket: Socket) => void,
  enough: (text: string) => boolean = () => false,
): Promise<string> {
  const socket = connect(port(), "127.0.0.1");
  socket.on("error", () => {}); // the answer may be followed by a reset
  let text = "";
  socket.setEncoding("latin1").on("data", (piece: string) => (text += piece));
  const closed = once(socket, "close");
  write(socket);
  await Promise.race([
    closed,
    eventually("an answer", () => (enough(text) ? true : undefined), 20_000),
  ]);
  socket.destroy();
  return text;
}

function head(method: string, path: string, ...more: string[]): string {
  const lines = [`${method} ${path} HTTP/1.1`, "host: localhost", ...more];
  return `${lines.join("\r\n")}\r\nauthorization: ${authorization}\r\n\r\n`;
}

describe("a body over the limit", () => {
  const hasAnswer = (text: string) => text.includes('"too_large"');

  test("is answered 413 with the contract's error before it has arrived", async () => {
    const size = limits.body_bytes + 1;
    const text = await raw(
      (socket) =>
        socket.write(head("PUT", "/sessions", `content-length: ${size}`)),
      hasAnswer,
    );
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
    expect(text).toContain(`larger than ${limits.body_bytes} bytes`);
  });

  test("is answered 413 also without a declared length", async () => {
    const chunk = Buffer.alloc(1024 * 1024, 0x20);
    const text = await raw((socket) => {
      socket.write(head("PUT", "/sessions", "transfer-encoding: chunked"));
      const pieces = limits.body_bytes / chunk.length + 2;
      for (let i = 0; i < pieces; i += 1) {
        socket.write(`${chunk.length.toString(16)}\r\n`);
        socket.write(chunk);
        socket.write("\r\n");
      }
    }, hasAnswer);
    expect(text).toMatch(/^HTTP\/1\.1 413 /);
  });

  test("with `Expect`, is refused before it is sent; one within the limit is requested", async () => {
    const size = limits.body_bytes + 1;
    const ask = (length: number) =>
      head(
        "PUT",
        "/sessions",
        "expect: 100-continue",
        `content-length: ${length}`,
      );
    const refused = await raw((socket) => socket.write(ask(size)), hasAnswer);
    expect(refused).toMatch(/^HTTP\/1\.1 413 /);
    const taken = await raw(
      (socket) => {
        socket.write(ask(2));
        socket.once("data", () => socket.write("{}"));
      },
      (text) => text.includes('"bad_request"'),
    );
    expect(taken).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 400 /);
  });

  test("gets an answer that `fetch` can read, although it sends the whole body", async () => {
    const answer = await fetch(`${server.url}/sessions`, {
      method: "PUT",
      headers: { authorization },
      body: Buffer.alloc(limits.body_bytes + 1, 0x20),
    });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ reason: "too_large" });
  });
});

describe("a body that does not arrive", () => {
  test.each([
    ["stops", { idle_ms: 100, total_ms: 10_000 }, false],
    ["trickles", { idle_ms: 10_000, total_ms: 300 }, true],
  ])("is answered 408 when it %s", async (_, times, trickles) => {
    const http = createServer((req, res) => {
      bodyOf(req, res, times).then(
        () => res.end(),
        (error: unknown) => sendFailure(res, toFailure(error)),
      );
    });
    http.listen(0, "127.0.0.1");
    await once(http, "listening");
    onTestFinished(() => {
      http.closeAllConnections();
      http.close();
    });
    const socket = connect((http.address() as AddressInfo).port, "127.0.0.1");
    socket.write("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n");
    const timer = trickles
      ? setInterval(() => socket.write("x"), 20)
      : undefined;
    const [answer] = (await once(socket, "data")) as [Buffer];
    clearInterval(timer);
    socket.destroy();
    expect(answer.toString()).toMatch(/^HTTP\/1\.1 408 /);
    expect(answer.toString()).toContain('"reason":"request_timeout"');
  });

  test("does not keep the connection of a refused client", async () => {
    const text = await raw((socket) =>
      socket.write(
        "PUT /sessions HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n",
      ),
    );
    expect(text).toMatch(/^HTTP\/1\.1 401 /); // and the server has closed the connection
  });
});

describe("a request that is not HTTP", () => {
  test("is refused with the contract's error", async () => {
    const text = await raw((socket) =>
      socket.write("\u0000\u0001 hello\r\n\r\n"),
    );
    expect(text).toMatch(/^HTTP\/1\.1 400 /);
    expect(text).toContain('"reason":"bad_request"');
  });

  test("is refused for its size if its head is too large", async () => {
    const text = await raw((socket) =>
      socket.write(head("GET", "/status", `x: ${"x".repeat(100_000)}`)),
    );
    expect(text).toMatch(/^HTTP\/1\.1 431 /);
    expect(text).toContain('"reason":"headers_too_large"');
  });
});

describe("a method", () => {
  test.each([
    "/status",
    "/sessions",
    "/openapi.json",
    "/docs",
    "/sessions/s/events",
  ])("HEAD %s is GET without a body", async (path) => {
    const answer = await server.ask("HEAD", path);
    expect(answer.status).toBe(200);
    expect(answer.text).toBe("");
    expect(answer.headers["content-type"]).toBeDefined();
  });

  test("HEAD needs the token, as GET does", async () => {
    expect((await server.ask("HEAD", "/sessions", undefined, {})).status).toBe(
      401,
    );
    expect((await server.ask("HEAD", "/status", undefined, {})).status).toBe(
      200,
    );
  });

  test.each([
    ["PATCH", "/sessions", "GET, HEAD, PUT, OPTIONS"],
    ["PUT", "/sessions/s/start", "POST, OPTIONS"],
    ["POST", "/docs", "GET, HEAD, OPTIONS"],
    ["DELETE", "/openapi.json", "GET, HEAD, OPTIONS"],
    ["PUT", "/sessions/s/channels", "GET, HEAD, OPTIONS"],
  ])(
    "%s %s is answered 405, with the allowed methods",
    async (method, path, allow) => {
      const answer = await server.ask(method, path);
      expect(answer.status).toBe(405);
      expect(String(answer.headers["allow"]).split(", ").toSorted()).toEqual(
        allow.split(", ").toSorted(),
      );
    },
  );

  test.each([
    ["/sessions", "GET, HEAD, PUT, OPTIONS"],
    ["/*", "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS"],
    ["/trpc/server.status", "GET, HEAD, POST, OPTIONS"],
  ])(
    "OPTIONS %s lists the allowed methods, and does not admit other origins",
    async (path, allow) => {
      const answer = await server.ask("OPTIONS", path);
      expect(answer.status).toBe(204);
      expect(String(answer.headers["allow"]).split(", ").toSorted()).toEqual(
        allow.split(", ").toSorted(),
      );
      expect(answer.headers["access-control-allow-origin"]).toBeUndefined();
    },
  );

  test("OPTIONS needs the token, and an existing address", async () => {
    expect(
      (await server.ask("OPTIONS", "/sessions", undefined, {})).status,
    ).toBe(401);
    expect((await server.ask("OPTIONS", "/nothing")).status).toBe(404);
  });
});

describe("a page behind a TLS proxy", () => {
  test.each([
    ["https://localhost", "localhost"],
    ["https://LOCALHOST:443", "localhost"],
    ["https://localhost:8443", "localhost:8443"],
    ["http://localhost", "localhost:80"],
  ])("of %s may use %s", async (origin, host) => {
    const headers = { authorization, origin, host };
    expect(
      (await server.ask("GET", "/sessions", undefined, headers)).status,
    ).toBe(200);
  });

  test.each([
    ["https://evil.example", "localhost"],
    ["https://localhost:8443", "localhost"],
    ["http://localhost:443", "localhost"],
    ["null", "localhost"],
    ["https://", ""],
    ["ftp://localhost", "localhost"],
    ["https://evil.example", "evil.example"],
  ])("of %s may not use %s", async (origin, host) => {
    const headers = { authorization, origin, host };
    expect(
      (await server.ask("GET", "/sessions", undefined, headers)).status,
    ).toBe(403);
  });
});

test("events arrive at once, also through a compressing middleware", async () => {
  type Handler = (req: object, res: object, next: () => void) => void;
  const load = createRequire(import.meta.url);
  const compress = (load("compression") as () => Handler)();
  await using embedded = await embedServer({
    path: "/k",
    token: TOKEN,
    provisioner: new MockProvisioner({ echo }),
    kernelspecs: kernelspecsOf({ echo }, process.execPath),
    runtimeDirectory: temporaryFolder(),
  });
  const http = createServer((req, res) =>
    compress(req, res, () => embedded.handle(req, res)),
  );
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  onTestFinished(() => {
    http.closeAllConnections();
    http.close();
  });
  const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/k`;
  const headers = { authorization, "accept-encoding": "gzip" };
  const put = {
    method: "PUT",
    headers,
    body: '{"kernel_name":"echo","session_id":"a"}',
  };
  expect((await fetch(`${url}/sessions`, put)).status).toBe(200);
  const spec = await fetch(`${url}/openapi.json`, { headers });
  expect(spec.headers.get("content-encoding")).toBe("gzip"); // the middleware does compress
  await spec.arrayBuffer();
  const events = await fetch(`${url}/sessions/a/events`, { headers });
  expect(events.headers.get("cache-control")).toContain("no-transform");
  const reader = events.body?.getReader();
  const first = await reader?.read();
  expect(Buffer.from(first?.value ?? []).toString()).toContain(": listening");
  await reader?.cancel();
});

describe("a batch of tRPC calls", () => {
  const batch = (count: number) =>
    server.ask(
      "GET",
      `/trpc/${Array.from({ length: count }, () => "server.status").join(",")}?batch=1&input=%7B%7D`,
    );

  test("is answered over HTTP up to its limit, and refused beyond it", async () => {
    const { status, body } = await batch(limits.batch_calls);
    expect(status).toBe(200);
    expect(body).toHaveLength(limits.batch_calls);
    const answer = await batch(limits.batch_calls + 1);
    expect(answer.status).toBe(400);
    expect(answer.text).toContain("exceeds maximum size");
  });

  test.each(["GET", "POST"])(
    "by %s has each answer in the position of its call, although every third is refused",
    async (method) => {
      const count = limits.batch_calls - 1;
      const places = Array.from({ length: count }, (_, at) => at);
      const input = JSON.stringify(
        Object.fromEntries(
          places.map((at) => [at, at % 3 === 0 ? at : { session_id: "s" }]),
        ),
      );
      const name = method === "GET" ? "sessions.get" : "executions.create";
      const names = places.map(() => name).join("%2C");
      const answer = await fetch(
        `${server.url}/trpc/${names}?batch=1${method === "GET" ? `&input=${encodeURIComponent(input)}` : ""}`,
        {
          method,
          headers: { authorization, "content-type": "application/json" },
          ...(method === "POST" && {
            body: input.replaceAll(
              /"(\d+)":\{/g,
              `"$1":{"code":"1","execution_id":"batch-$1",`,
            ),
          }),
        },
      );
      expect(answer.status).toBe(207);
      const answers = (await answer.json()) as {
        result?: { data: { session_id: string; execution_id: string } };
        error?: { data: { failure: { reason: string } } };
      }[];
      expect(answers).toHaveLength(count);
      for (const [at, { result, error }] of answers.entries()) {
        if (at % 3 === 0) {
          expect(error?.data.failure.reason).toBe("bad_request");
        } else if (method === "GET") {
          expect(result?.data.session_id).toBe("s");
        } else expect(result?.data.execution_id).toBe(`batch-${at}`);
      }
    },
  );

  test("over a WebSocket is refused if it has too many calls", async () => {
    const socket = await opened("/trpc");
    const call = '{"id":1,"method":"query","params":{"path":"server.status"}}';
    const calls = Array<string>(limits.frame_calls + 1).fill(call);
    socket.send(`[${calls.join()}]`);
    const [answer] = (await once(socket, "message")) as [Buffer];
    expect(answer.toString()).toContain(`more than ${limits.frame_calls}`);
  });
});

const DEEP = `${"[".repeat(4_500)}${"]".repeat(4_500)}`;
const frame = (header: string, content = "{}") =>
  `{"channel":"shell","header":{"msg_id":"1","msg_type":"x","more":${header}},"parent_header":null,"metadata":{},"content":${content},"buffers":[]}`;

const counted = vi.spyOn(Faults.prototype, "count");
/** The number of counted faults of a kind. */
const faults = (kind: string) =>
  counted.mock.calls.filter(([counted]) => counted === kind).length;

async function opened(path: string): Promise<WebSocket> {
  const socket = new WebSocket(server.url.replace("http", "ws") + path, {
    headers: { authorization },
  });
  await once(socket, "open");
  onTestFinished(() => socket.terminate());
  return socket;
}

describe("a channel frame", () => {
  test.each([
    ["nested deep in its header", frame(DEEP)],
    ["nested deep in its content", frame("1", `{"a":${DEEP}}`)],
    ["nested deep and without an end", `{"channel":${"[".repeat(100_000)}`],
    ["that is not JSON", "hello"],
    [
      "of a million members",
      `{${Array.from({ length: 300_000 }, (_, i) => `"k${i}":1`).join()}}`,
    ],
    ["with a large header", frame(`"${"x".repeat(limits.header_bytes)}"`)],
  ])(
    "%s is refused and counted, and the channel continues",
    async (_, text) => {
      const kind = "Client's message refused";
      const before = faults(kind);
      const socket = await opened("/sessions/s/channels");
      socket.send(text);
      await eventually("a count", () =>
        faults(kind) > before ? true : undefined,
      );
      const received: string[] = [];
      socket.on("message", (data: Buffer) => received.push(data.toString()));
      socket.send(
        frame("1").replace(
          '"msg_id":"1","msg_type":"x"',
          `"msg_id":"${randomUUID()}","msg_type":"kernel_info_request"`,
        ),
      );
      await eventually("a reply", () =>
        received.some((line) => line.includes("kernel_info_reply"))
          ? true
          : undefined,
      );
      expect(socket.readyState).toBe(WebSocket.OPEN);
    },
  );

  test("of tens of megabytes reaches the kernel unchanged", async () => {
    const big = "é".repeat(10_000_000);
    const socket = await opened("/sessions/s/channels");
    const received = new Promise<string>((resolve) =>
      socket.on("message", (data: Buffer) => {
        if (data.includes('"execute_input"')) resolve(data.toString());
      }),
    );
    const header = '{"msg_id":"big","msg_type":"execute_request"}';
    socket.send(
      `{"channel":"shell","header":${header},"content":{"code":"${big}","silent":false},"metadata":{}}`,
    );
    const { content } = JSON.parse(await received) as {
      content: { code: string };
    };
    expect(content.code === big).toBe(true);
  });
});

describe("an input", () => {
  const deep = `{"session_id":"s","code":"1","metadata":{"a":${DEEP}}}`;
  const wide = JSON.stringify({
    session_id: "w",
    kernel_name: "echo",
    env: Array.from({ length: 100_000 }, () => ({ action: 1 })),
  });
  const long = JSON.stringify({
    session_id: "w",
    kernel_name: "x".repeat(3_000_000),
  });

  test.each([
    ["nested deep", deep, 400, "levels deep"],
    ["with 100,000 wrong items", wide, 400, "values"],
    ["with 3 MB of what is not carried", long, 413, "larger than"],
  ] as const)(
    "%s is refused over REST and over tRPC, with a short error",
    async (...[, body, status, why]) => {
      const [method, path] =
        body === deep
          ? ["POST", "/sessions/s/executions"]
          : ["PUT", "/sessions"];
      const answer = await server.ask(method, path, body);
      expect(answer.status).toBe(status);
      expect(answer.text).toContain(why);
      expect(answer.text.length).toBeLessThan(5_000);
      const name =
        path === "/sessions" ? "sessions.create" : "executions.create";
      const called = await server.ask("POST", `/trpc/${name}`, body, {
        authorization,
        "content-type": "application/json",
      });
      expect(called.status).toBe(status);
      expect(called.body).toMatchObject({
        error: {
          data: {
            failure: { message: expect.stringContaining(why) as string },
          },
        },
      });
      const socket = await opened("/trpc");
      socket.send(
        `{"id":7,"method":"mutation","params":{"path":"${name}","input":${body}}}`,
      );
      const [data] = (await once(socket, "message")) as [Buffer];
      expect(JSON.parse(data.toString())).toMatchObject({
        id: 7,
        error: {
          data: {
            failure: { message: expect.stringContaining(why) as string },
          },
        },
      });
    },
  );

  test("gets the first errors, and the number of the others", async () => {
    const env = Array.from({ length: 100 }, () => ({ action: 1 }));
    const body = { session_id: "w", kernel_name: "echo", env };
    const answer = await server.ask("PUT", "/sessions", body);
    expect(answer.status).toBe(400);
    expect(answer.text).toContain("… and 280 more");
  });

  const code = `'${"x\u00e9\n".repeat(2_000_000)}'`;
  test.each(["REST", "tRPC over HTTP", "a batch of tRPC", "tRPC"])(
    "of tens of megabytes of code arrives complete over %s",
    async (door) => {
      const session_id = "s";
      const execution_id = `big-${door}`;
      const input = { session_id, execution_id, code };
      const json = { authorization, "content-type": "application/json" };
      if (door === "REST") {
        const answer = await server.ask(
          "POST",
          "/sessions/s/executions",
          input,
        );
        expect(answer.status, answer.text.slice(0, 500)).toBe(201);
      } else if (door === "tRPC") {
        const socket = await opened("/trpc");
        const params = { path: "executions.create", input };
        socket.send(JSON.stringify([{ id: 1, method: "mutation", params }]));
        const [data] = (await once(socket, "message")) as [Buffer];
        expect(data.toString().slice(0, 500)).toContain('"result"');
      } else {
        const isBatch = door.startsWith("a batch");
        const path = `/trpc/executions.create${isBatch ? "?batch=1" : ""}`;
        const answer = await server.ask(
          "POST",
          path,
          isBatch ? { 0: input } : input,
          json,
        );
        expect(answer.status, answer.text.slice(0, 500)).toBe(200);
      }
      const { executions } = server.server.supervisor.session(session_id);
      const content = Buffer.from(
        executions.get(execution_id).request.raw.content,
      );
      expect(
        (JSON.parse(content.toString()) as { code: string }).code === code,
      ).toBe(true);
    },
  );

  test("with large buffers arrives complete over every protocol", async () => {
    const bytes = Buffer.alloc(5_000_001, "kernel");
    const message = {
      channel: "shell",
      header: { msg_id: "b1", msg_type: "comm_msg" },
      content: { comm_id: "none", data: {} },
      buffers: [bytes.toString("base64"), ""],
    };
    const sent = await server.ask("POST", "/sessions/s/messages", message);
    expect(sent.body).toMatchObject({ msg_id: "b1", repeated: false });
    const wrong = {
      ...message,
      buffers: [`${message.buffers[0]?.slice(4)}@@@@`],
    };
    const refused = await server.ask("POST", "/sessions/s/messages", wrong);
    expect(refused.body).toMatchObject({ reason: "bad_message" });
  });
});

test("is refused by the server in memory with the same error", async () => {
  await using memory = memoryServer({ kernels: { echo } });
  await memory.start("echo", "s");
  const ask = async (path: string, init: RequestInit) => {
    const answer = await memory.fetch(path, init);
    return [answer.status, await answer.text()] as const;
  };
  const body = `{"session_id":"s","code":"1","metadata":{"a":${DEEP}}}`;
  const [status, text] = await ask("/sessions/s/executions", {
    method: "POST",
    body,
  });
  expect([status, text]).toEqual([400, expect.stringContaining("levels deep")]);
  const headers = { "content-type": "application/json" };
  const called = await ask("/trpc/executions.create", {
    method: "POST",
    body,
    headers,
  });
  expect(called).toEqual([400, expect.stringContaining("levels deep")]);
  const names = Array.from(
    { length: limits.batch_calls + 1 },
    () => "server.status",
  );
  const batch = await ask(`/trpc/${names.join()}?batch=1&input=%7B%7D`, {});
  expect(batch).toEqual([400, expect.stringContaining("exceeds maximum size")]);
  const patched = await memory.fetch("/sessions", { method: "PATCH" });
  expect(patched.headers.get("allow")).toBe("GET, HEAD, PUT, OPTIONS");
  const headed = await memory.fetch("/sessions", { method: "HEAD" });
  expect([headed.status, await headed.text()]).toEqual([200, ""]);
});
