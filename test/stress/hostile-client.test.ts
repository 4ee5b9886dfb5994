/**
 * A client that sends wrong data: requests and frames that are derived from the
 * contract and then changed, and bytes that are no request or frame at all. A
 * session beside it is checked after each: its messages, its description, and
 * that it answers.
 *
 *     HOSTILE_MS=3600000 HOSTILE_SEED=7 npx vitest run test/stress/hostile-client.test.ts
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import type { oas31 } from "zod-openapi";
import { embedServer } from "../../src/index.ts";
import { kernelspecsOf } from "../../testing/memory-service.ts";
import { MockProvisioner } from "../../testing/provisioner.ts";
import { operations, resolved } from "../contract/document.ts";
import { ask, openServerOf, TOKEN } from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";
import { mutationsOf, valuesOf } from "../server/schema-values.ts";

const SEED = Number(process.env["HOSTILE_SEED"] ?? 20_260_101);
/** The time for each kind of data and each way to connect. */
const BUDGET_MS = Number(process.env["HOSTILE_MS"] ?? 3_000);
const authorization = `Bearer ${TOKEN}`;

/** One way to connect, and the session that must not be affected. */
class Way {
  readonly url: string;
  #count = 0;
  #looked = Promise.resolve();

  constructor(url: string) {
    this.url = url;
  }

  ask(method: string, path: string, body?: string) {
    const headers = {
      authorization,
      "content-type": "application/json",
      "content-length": String(Buffer.byteLength(body ?? "")), // Node says none with GET
    };
    const { pathname, origin } = new URL(this.url);
    const base = pathname === "/" ? "" : pathname;
    return ask({ url: origin }, { method, path: base + path, body, headers });
  }

  async begin(): Promise<void> {
    for (const session_id of ["beside", "victim"]) {
      const body = JSON.stringify({ session_id, kernel_name: "echo" });
      expect((await this.ask("PUT", "/sessions", body)).status).toBe(200);
      const path = `/sessions/${session_id}/start`;
      expect((await this.ask("POST", path)).status).toBe(200);
    }
  }

  /** The session beside answers correctly, and its description is unchanged. */
  assertUnhurt(): Promise<void> {
    // One after the other: an earlier check may still be under way.
    this.#looked = this.#looked.catch(() => {}).then(() => this.#look());
    return this.#looked;
  }

  async #look(): Promise<void> {
    this.#count += 1;
    const code = `message ${this.#count}`;
    const answer = await this.ask(
      "POST",
      "/sessions/beside/execute",
      JSON.stringify({ code }),
    );
    expect(answer.body).toMatchObject({
      status: "ok",
      execution_count: this.#count,
      data: { "text/plain": code },
    });
    const listed = await this.ask("GET", "/sessions/beside");
    expect(listed.body).toMatchObject({
      session_id: "beside",
      connected: false,
    });
    expect(faults).toEqual([]);
  }

  async open(path: string): Promise<WebSocket> {
    const socket = new WebSocket(this.url.replace("http", "ws") + path, {
      headers: { authorization },
    });
    socket.on("error", () => {}); // it may be disconnected for its data
    await once(socket, "open");
    return socket;
  }
}

/** Bugs that the server caught; there must be none. */
const faults: string[] = [];
const onFault = (error: Error) => void faults.push(String(error.stack));
const ways: Record<string, Way> = {};
const ends: (() => Promise<unknown>)[] = [];

beforeAll(async () => {
  const listening = await openServerOf({ echo }, { onFault });
  ends.push(() => listening[Symbol.asyncDispose]());
  const directory = mkdtempSync(join(tmpdir(), "hostile-"));
  const embedded = await embedServer({
    path: "/k",
    token: TOKEN,
    provisioner: new MockProvisioner({ echo }),
    kernelspecs: kernelspecsOf({ echo }, process.execPath),
    runtimeDirectory: directory,
    onFault,
  });
  const http = createServer((req, res) => embedded.handle(req, res));
  http.on("upgrade", embedded.upgrade);
  http.on("clientError", (_, socket) => socket.destroy()); // handled by the host itself
  http.listen(0, "127.0.0.1");
  await once(http, "listening");
  ends.push(async () => {
    await embedded[Symbol.asyncDispose]();
    http.closeAllConnections();
    http.close();
    rmSync(directory, { recursive: true, force: true });
  });
  const { port } = http.address() as AddressInfo;
  ways["on a port"] = new Way(listening.url);
  ways["embedded"] = new Way(`http://127.0.0.1:${port}/k`);
  await Promise.all(Object.values(ways).map((way) => way.begin()));
});
afterAll(() => Promise.all(ends.map((end) => end())));

/** Sends data of one kind until the time is up; after each, the session beside is checked. */
async function lie<T>(
  way: Way,
  lies: fc.Arbitrary<T>,
  tell: (lie: T) => Promise<void>,
): Promise<void> {
  await fc.assert(
    fc.asyncProperty(lies, async (one) => {
      await tell(one);
      await way.assertUnhurt();
    }),
    {
      seed: SEED,
      numRuns: 1_000_000, // time ends them
      interruptAfterTimeLimit: BUDGET_MS,
      endOnFailure: true,
    },
  );
}

const deep = (depth: number, open = "[", close = "]") =>
  open.repeat(depth) + close.repeat(depth);
/** JSON, or similar text, of shapes that are difficult for parsers. */
const texts: fc.Arbitrary<string> = fc.oneof(
  fc.json(),
  fc.string({ unit: "binary" }),
  fc.constantFrom(
    deep(600),
    deep(100_000),
    deep(5_000, '{"a":', "}"),
    "[".repeat(100_000),
    `{"__proto__":${deep(4_500)}}`,
    `[${"1,".repeat(100_000)}1]`,
    `{${Array.from({ length: 20_000 }, (_, at) => `"k${at}":${at}`).join()}}`,
    `"${"\\u0000".repeat(50_000)}"`,
    `"${"x".repeat(2_000_000)}"`,
    "1".repeat(60_000),
    "null",
    "",
    "\ufeff{}",
    "NaN",
  ),
);
/** A text that replaces a part of a whole. */
const PIECE = "in place of a piece";
const withPiece = (values: fc.Arbitrary<unknown>) =>
  fc
    .tuple(mutationsOf(values, fc.constant(PIECE)), texts)
    .map(([value, text]) =>
      JSON.stringify(value ?? null).replaceAll(`"${PIECE}"`, () => text),
    );

/** Without the operations that would end the server, or delete the session under test. */
const reported = operations.filter(
  ({ path, method }) => path !== "/shutdown" && method !== "DELETE",
);
const bodyOf = ({ operation }: (typeof reported)[number]) =>
  (operation.requestBody as oas31.RequestBodyObject | undefined)?.content[
    "application/json"
  ]?.schema;
const pathOf = (path: string) =>
  path.replaceAll("{session_id}", "victim").replace(/\{\w+\}/g, "none");
/** Operations that would wait, or end the session under test. */
const tame = {
  timeout_ms: fc.integer({ min: 1, max: 50 }),
  code: fc.constantFrom("hello", "", "\u0000"),
};

const requests = fc.constantFrom(...reported).chain((described) => {
  const schema = bodyOf(described);
  const body =
    schema === undefined
      ? texts
      : withPiece(valuesOf(resolved(schema as oas31.SchemaObject), tame));
  return fc.record({ described: fc.constant(described), body });
});

const inputs = fc.constantFrom(...reported).chain((described) => {
  const schema = bodyOf(described);
  const values =
    schema === undefined
      ? fc.record({ session_id: fc.constant("victim") })
      : valuesOf(resolved(schema as oas31.SchemaObject), tame);
  const { "x-trpc-procedure": path = "sessions.get" } =
    described.operation as Record<string, string>;
  return fc.record({
    path: fc.oneof(fc.constant(path), fc.string()),
    input: withPiece(values),
  });
});

const frames = fc.oneof(
  texts,
  withPiece(
    fc.record({
      channel: fc.constantFrom("shell", "control", "stdin", "iopub"),
      header: fc.record({
        msg_id: fc.string(),
        msg_type: fc.constantFrom(
          "comm_msg",
          "input_reply",
          "kernel_info_request",
        ),
        date: fc.jsonValue(),
      }),
      parent_header: fc.jsonValue(),
      metadata: fc.jsonValue(),
      content: fc.dictionary(fc.string(), fc.jsonValue()),
      buffers: fc.array(fc.base64String()),
    }),
  ),
);

/** A frame of RFC 6455 with each of its parts right or wrong. */
const rawFrames = fc
  .record({
    fin: fc.boolean(),
    reserved: fc.constantFrom(0, 0, 0, 1, 4, 7),
    opcode: fc.nat({ max: 15 }),
    isMasked: fc.boolean(),
    stated: fc.option(
      fc.constantFrom(0, 1, 126, 65_536, 2 ** 31, 2 ** 53 - 1, 2 ** 60),
      { nil: undefined },
    ),
    payload: fc.uint8Array({ maxLength: 200 }),
  })
  .map(({ fin, reserved, opcode, isMasked, stated, payload }) => {
    const length = stated ?? payload.length;
    const head = [(fin ? 0x80 : 0) | (reserved << 4) | opcode];
    const mask = isMasked ? 0x80 : 0;
    const size = Buffer.alloc(length < 126 ? 0 : length < 65_536 ? 2 : 8);
    if (size.length === 2) size.writeUInt16BE(length);
    if (size.length === 8) size.writeBigUInt64BE(BigInt(length));
    const marker = length < 126 ? length : size.length === 2 ? 126 : 127;
    return Buffer.concat([
      Buffer.from([...head, mask | marker]),
      size,
      Buffer.alloc(isMasked ? 4 : 0),
      payload,
    ]);
  });

const requestHeads = fc
  .tuple(
    fc.constantFrom(
      "GET",
      "POST",
      "PUT",
      "OPTIONS",
      "TRACE",
      "CONNECT",
      "get",
      "",
    ),
    fc.constantFrom(
      ...[
        "/status",
        "/sessions",
        "/trpc",
        "//",
        "*",
        "/%zz",
        "/sessions/%ff/channels",
      ],
      ...[
        "http://evil.example/sessions",
        "/docs?token=%",
        "/\u0000",
        ":99999/",
      ],
    ),
    fc.constantFrom("HTTP/1.1", "HTTP/1.0", "HTTP/9.9", ""),
    fc.array(
      fc.constantFrom(
        ...["host: localhost", "host: a, b", `authorization: ${authorization}`],
        ...["content-length: 5", "content-length: 6", "content-length: -1"],
        ...[
          "content-length: 99999999999999999999",
          "transfer-encoding: chunked",
        ],
        ...["transfer-encoding: xchunked", "transfer-encoding : chunked"],
        ...["connection: upgrade", "upgrade: websocket", "upgrade: h2c"],
        ...["sec-websocket-version: 13", "sec-websocket-version: 99"],
        ...[
          "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
          "sec-websocket-key: x",
        ],
        ...["expect: 100-continue", "expect: something", "x: \u0000", " x: y"],
        "trailer: x",
      ),
      { maxLength: 8 },
    ),
    fc.constantFrom(
      "",
      "{}",
      "5\r\nhello\r\n0\r\n\r\n",
      "zz\r\n",
      "GET / HTTP/1.1\r\n\r\n",
    ),
  )
  .map(
    ([method, path, version, headers, body]) =>
      `${method} ${path} ${version}\r\n${headers.join("\r\n")}\r\n\r\n${body}`,
  );

/** Writes bytes, waits for an answer or a moment, and disconnects. */
async function bytesTo(
  url: string,
  pieces: readonly (Buffer | string)[],
): Promise<void> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.on("error", () => {}); // it may be disconnected
  socket.resume();
  for (const piece of pieces) socket.write(piece);
  await Promise.race([once(socket, "data"), once(socket, "close"), delay(30)]);
  socket.destroy();
}

const MOMENT = { timeout: 60_000 + 4 * BUDGET_MS };

describe.each(["on a port", "embedded"])(
  "a server %s is not affected by",
  (name) => {
    const way = () => {
      const found = ways[name];
      if (found === undefined) throw new Error(`There is no way ${name}`);
      return found;
    };

    test("requests of REST", MOMENT, async () => {
      await lie(
        way(),
        requests,
        async ({ described: { method, path }, body }) => {
          if (/(?:execute|wait|events|start|adopt)$/.test(path)) return; // these wait for a kernel
          const answer = await way().ask(method, pathOf(path), body);
          expect(answer.status, answer.text).not.toBe(500);
        },
      );
    });

    test("calls and batches of tRPC over HTTP", MOMENT, async () => {
      const lies = fc.array(inputs, { minLength: 1, maxLength: 3 });
      await lie(way(), lies, async (calls) => {
        if (
          calls.some(({ path }) =>
            /shutdown|execute|wait|events|follow/.test(path),
          )
        )
          return;
        const paths = calls.map(({ path }) => encodeURIComponent(path)).join();
        const body = `{${calls.map(({ input }, at) => `"${at}":${input}`).join()}}`;
        const answer = await way().ask("POST", `/trpc/${paths}?batch=1`, body);
        expect(answer.status, answer.text).not.toBe(500);
      });
    });

    test("frames of tRPC", MOMENT, async () => {
      const calls = fc
        .tuple(
          inputs,
          fc.constantFrom("query", "mutation", "subscription", "other"),
          fc.jsonValue(),
        )
        .filter(([{ path }]) => !/shutdown|execute|wait/.test(path))
        .map(
          ([{ path, input }, method, id]) =>
            `{"id":${JSON.stringify(id)},"method":"${method}","params":{"path":${JSON.stringify(path)},"input":${input}}}`,
        );
      const lies = fc.oneof(
        calls,
        texts,
        fc.array(calls, { maxLength: 3 }).map((all) => `[${all.join()}]`),
      );
      await lie(
        way(),
        fc.array(lies, { minLength: 1, maxLength: 4 }),
        async (all) => {
          const socket = await way().open("/trpc");
          for (const text of all) socket.send(text);
          socket.send(
            '{"id":"last","method":"query","params":{"path":"server.status"}}',
          );
          await new Promise<void>((resolve, reject) => {
            socket.on("close", () => reject(new Error("it was cut off")));
            socket.on("message", (data: Buffer) => {
              if (data.includes('"id":"last"')) resolve();
            });
          });
          socket.terminate();
        },
      );
    });

    test("frames of a channel", MOMENT, async () => {
      const lies = fc.array(frames, { minLength: 1, maxLength: 4 });
      await lie(way(), lies, async (all) => {
        const socket = await way().open("/sessions/victim/channels");
        for (const text of all) socket.send(text);
        socket.send(Buffer.from([1, 2, 3]));
        const ponged = once(socket, "pong");
        socket.ping();
        await ponged; // the server has read the earlier data, and continues
        socket.terminate();
      });
    });

    test("bytes that are not frames", MOMENT, async () => {
      const places = fc.constantFrom("/trpc", "/sessions/victim/channels");
      const lies = fc.tuple(places, fc.array(rawFrames, { maxLength: 4 }));
      await lie(way(), lies, async ([place, all]) => {
        const { pathname } = new URL(way().url);
        const base = pathname === "/" ? "" : pathname;
        const upgrade = [
          `GET ${base}${place} HTTP/1.1`,
          "host: localhost",
          `authorization: ${authorization}`,
          "connection: upgrade",
          "upgrade: websocket",
          "sec-websocket-version: 13",
          "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
        ];
        await bytesTo(way().url, [`${upgrade.join("\r\n")}\r\n\r\n`, ...all]);
      });
    });

    test("bytes that are not requests", MOMENT, async () => {
      await lie(
        way(),
        fc.array(requestHeads, { minLength: 1, maxLength: 3 }),
        (all) => bytesTo(way().url, all),
      );
    });
  },
);
