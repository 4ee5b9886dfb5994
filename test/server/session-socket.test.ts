/** A session's own Unix socket: clients with a handshake, clients that send at once, clients that only read, and clients that leave. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  onTestFinished,
  test,
} from "vitest";
import { WebSocket } from "ws";
import { masked, PlainClient } from "../conformance/harness/plain.ts";
import {
  eventually,
  openServerOf,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

const folder = mkdtempSync(join(tmpdir(), "kct-"));
const main = join(folder, "s.sock");
let server: TestServer;
let session = "";
/** The path of the session's own socket. */
let own = "";
let count = 0;

beforeAll(async () => {
  const address = { transport: "socket", path: main } as const;
  server = await openServerOf({ echo }, { address });
});
afterAll(async () => {
  await server[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  session = await server.start("echo", `echo-${(count += 1)}`);
  const { body } = await server.ask("GET", `/sessions/${session}/channels`);
  own = body as string;
});

function client(options?: { pongs: boolean }): PlainClient {
  const made = new PlainClient(own, options);
  onTestFinished(() => made.leave());
  return made;
}

function execution(msg_id: string, code = "hello"): string {
  const header = { msg_id, msg_type: "execute_request" };
  const content = { code };
  return JSON.stringify({
    ...{ header, content, channel: "shell" },
    ...{ parent_header: null, metadata: {}, buffers: [] },
  });
}

function replyTo(msg_id: string, { received }: PlainClient): Promise<string> {
  return eventually(`a reply to ${msg_id}`, () =>
    received.find(
      (text) => text.includes('"execute_reply"') && text.includes(msg_id),
    ),
  );
}

/** Everything that is answered until the connection ends. */
async function answerTo(...pieces: readonly string[]): Promise<string> {
  const socket = connect(own);
  onTestFinished(() => void socket.destroy());
  const closed = once(socket, "close");
  let answer = "";
  socket.on("data", (chunk) => (answer += chunk.toString()));
  for (const piece of pieces) {
    socket.write(piece);
    await turn(); // the server reads each piece alone
  }
  await closed;
  return answer;
}

/** The server is in this process: it reads in a turn of the event loop. */
async function turn(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await new Promise(setImmediate);
}

async function opens(url: string): Promise<boolean> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const socket = new WebSocket(url, { headers });
  socket.on("error", () => {});
  onTestFinished(() => socket.terminate());
  const opened = once(socket, "open").then(() => true);
  const refused = once(socket, "unexpected-response").then(() => false);
  return await Promise.race([opened, refused]);
}

describe("frames without a handshake", () => {
  test("are received from the first byte on, many in one piece", async () => {
    const plain = client();
    const ids = [randomUUID(), randomUUID(), randomUUID()];
    plain.write(Buffer.concat(ids.map((id) => masked(execution(id)))));
    for (const id of ids) await replyTo(id, plain);
    const { body } = await server.ask("GET", `/sessions/${session}`);
    expect(body).toMatchObject({ connected: true, socket_path: own });
  });

  test("are received byte by byte", async () => {
    const plain = client({ pongs: false }); // pongs would be between the bytes
    const id = randomUUID();
    for (const byte of masked(execution(id))) {
      plain.write(Buffer.of(byte));
      await turn();
    }
    await replyTo(id, plain);
  });

  test("displace the present owner, and are displaced by a handshake", async () => {
    const first = client();
    first.write(masked(execution("first")));
    await replyTo("first", first);
    const second = client();
    second.write(masked(execution("second")));
    await replyTo("second", second);
    await first.closed;
    expect(first.received.at(-1)).toContain("clientDisconnected");
    expect(await opens(`ws+unix://${own}:/`)).toBe(true);
    await second.closed;
    expect(second.received.at(-1)).toContain("clientDisconnected");
  });

  test("that are not valid end only this connection", async () => {
    const plain = client();
    plain.write(Buffer.from([0x83, 0x80, 0, 0, 0, 0])); // a reserved opcode
    await plain.closed;
    const next = client();
    next.write(masked(execution("next")));
    await replyTo("next", next);
  });
});

describe("a client that sends nothing", () => {
  test("gets the session's messages after five seconds, and may then send", async () => {
    const plain = client();
    await eventually("a message", () =>
      plain.received.length > 0 ? true : undefined,
    );
    plain.write(masked(execution("late")));
    await replyTo("late", plain);
  });

  test("displaces no owner if it leaves", async () => {
    const present = client();
    present.write(masked(execution("one")));
    await replyTo("one", present);
    const visitor = connect(own);
    await once(visitor, "connect");
    visitor.end();
    visitor.resume();
    await once(visitor, "close");
    present.write(masked(execution("two")));
    await replyTo("two", present);
  });

  test("is disconnected with the session", async () => {
    const visitor = client();
    const next = client(); // accepted after the visitor
    next.write(masked(execution("next")));
    await replyTo("next", next);
    await server.ask("POST", `/sessions/${session}/kill`);
    const deleted = await eventually("the session deleted", async () => {
      const answer = await server.ask("DELETE", `/sessions/${session}`);
      return answer.status === 200 ? answer : undefined;
    });
    expect(deleted.status).toBe(200);
    await visitor.closed;
    expect(visitor.received).toEqual([]);
  });
});

test("leaves no files if its session is deleted during the opening", async () => {
  const sockets = () => readdirSync(dirname(own)).sort();
  const before = sockets();
  for (let round = 0; round < 20; round++) {
    const session_id = `brief-${round}`;
    await server.ask("PUT", "/sessions", { session_id, kernel_name: "echo" });
    const path = `/sessions/${session_id}`;
    const requested = server.ask("GET", `${path}/channels`);
    const deleted = server.ask("DELETE", path);
    expect((await deleted).status).toBe(200);
    expect((await requested).status).toBeOneOf([200, 404]);
  }
  expect(sockets()).toEqual(before);
});

describe("requests", () => {
  test("are read completely, in any pieces", async () => {
    const pieces = [
      "G",
      "ET / HT",
      "TP/1.1\r\nhost: x\r\nconnection: close\r\n",
      "\r\n",
    ];
    expect(await answerTo(...pieces)).toMatch(/^HTTP\/1.1 426 /);
  });

  test("that are not valid are refused, also JSON without frames", async () => {
    expect(await answerTo(`${execution("bare")}\n`)).toMatch(/^HTTP\/1.1 400 /);
  });

  test("that stop half-way have a timeout", async () => {
    expect(await answerTo("GET / HTTP/1.1\r\n")).toBe("");
  });

  test("with the example key of the RFC get only their answer at first", async () => {
    const socket = connect(own);
    onTestFinished(() => void socket.destroy());
    const headers = exampleHeaders.join("\r\n");
    const early = masked(execution("early"));
    socket.write(`GET / HTTP/1.1\r\nHost: x\r\n${headers}\r\n\r\n`);
    socket.write(early);
    const [answer] = (await once(socket, "data")) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 101 [^]*\r\n\r\n$/);
    let received = "";
    socket.on("data", (chunk) => (received += chunk.toString("latin1")));
    await eventually("the reply to the early request", () =>
      received.includes('"execute_reply"') ? true : undefined,
    );
  });
});

describe("an upgrade at the channels' address of the server's own socket", () => {
  test("is a WebSocket for a client with its own key", async () => {
    expect(await opens(`ws+unix://${main}:/sessions/${session}/channels`)).toBe(
      true,
    );
  });

  test.each([
    ["the RFC's example key", "dGhlIHNhbXBsZSBub25jZQ=="],
    ["a key of another length", "SGVsbG8sIHdvcmxkIQ=="],
    ["no key", undefined],
  ])("gets the socket's path with %s", async (_what, key) => {
    const answer = await server.ask(
      "GET",
      `/sessions/${session}/channels`,
      undefined,
      {
        authorization: `Bearer ${TOKEN}`,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        ...(key === undefined ? {} : { "sec-websocket-key": key }),
      },
    );
    expect(answer.status).toBe(200);
    expect(answer.body).toBe(own);
  });
});

const exampleHeaders = [
  "Connection: Upgrade",
  "Upgrade: websocket",
  "Sec-WebSocket-Version: 13",
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];
