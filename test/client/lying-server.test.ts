/**
 * A server that sends invalid data. Whatever it sends, the program that uses the
 * client gets rejected promises and events, and never an exception that it cannot
 * catch. (The test runner fails a run with an uncaught exception.)
 */
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import {
  type Client,
  connect,
  ConnectionError,
  type SessionEvent,
} from "../../client/index.ts";

/** A request as tRPC sends it. */
interface TrpcRequest {
  readonly id: string | number;
  readonly method: string;
  readonly params?: { readonly path?: string; readonly input?: unknown };
}
type Reply = (request: TrpcRequest, socket: WebSocket) => void;

const journal_id = "00112233aabbccdd";
const session = {
  session_id: "s",
  status: "idle",
  last_seq: 0,
  journal_id,
};

/** Answers requests over HTTP with `http`, and each frame with `reply`. */
async function lyingServer(
  reply: Reply,
  http: (path: string) => unknown = () => session,
) {
  const server = createServer((req, res) => {
    req.resume();
    const path = new URL(req.url ?? "", "http://x").pathname.split("/")[2];
    const data = http(path ?? "");
    res.writeHead(200, { "content-type": "application/json" });
    res.end(
      typeof data === "string" ? data : JSON.stringify({ result: { data } }),
    );
  });
  const sockets = new WebSocketServer({ server });
  sockets.on("connection", (socket) => {
    socket.on("error", () => {});
    socket.on("message", (data: Buffer) => {
      const text = data.toString();
      if (text === "PING" || text === "PONG") return;
      for (const request of [
        JSON.parse(text) as TrpcRequest | TrpcRequest[],
      ].flat()) {
        reply(request, socket);
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get connections() {
      return sockets.clients.size;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets.clients) socket.terminate();
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
}

/** The frame of an event, as a correct server sends it. */
function frame(id: string | number, seq: number, json: string): string {
  const position = `${journal_id}:${seq}`;
  return `{"id":${JSON.stringify(id)},"result":{"type":"data","id":"${position}","data":{"id":"${position}","data":${json}}}}`;
}

function status(seq: number): string {
  return JSON.stringify({ kind: "status", seq, status: "idle", reason: null });
}

const NAN =
  '{"kind":"jupyter","seq":2,"channel":"iopub","header":{"msg_id":"a","msg_type":"display_data"},"parent_header":null,"metadata":{},"content":{"x":NaN},"buffers":[]}';

let client: Client | undefined;
beforeEach(() => {
  client = undefined;
});
afterEach(() => client?.close());

/** The first `count` events that a reader of the session receives. */
async function eventsOf(url: string, count: number): Promise<SessionEvent[]> {
  client = await connect({ url });
  const events: SessionEvent[] = [];
  for await (const event of client.session("s").events({ after: 0 })) {
    events.push(event);
    if (events.length === count) break;
  }
  return events;
}

it("an event that cannot be read keeps its number, and later events arrive", async () => {
  const wrong = [
    NAN,
    "{nope",
    "null",
    "5",
    '"text"',
    "[]",
    "{}",
    '{"kind":"jupyter","seq":2}',
    '{"kind":"jupyter","seq":2,"channel":"iopub","header":null,"content":{}}',
    '{"kind":"jupyter","seq":2,"channel":"iopub","header":{"msg_id":"a","msg_type":"x"},"buffers":["not base64!"]}',
    '{"kind":"jupyter","seq":2,"channel":"iopub","header":{"msg_id":"a","msg_type":"x"},"buffers":[7]}',
    '{"kind":"jupyter","seq":"2","channel":"iopub","header":{"msg_id":"a","msg_type":"x"},"buffers":[]}',
    '{"kind":"status","seq":2,"status":"melting","reason":null}',
    '{"kind":"exited","seq":2}',
    '{"kind":"of-the-future","seq":2}',
    '{"kind":{"toString":1},"seq":2}',
  ];
  for (const json of wrong) {
    await using server = await lyingServer(({ id, method }, socket) => {
      if (method !== "subscription") return;
      socket.send(frame(id, 1, status(1)));
      socket.send(frame(id, 2, json));
      socket.send(frame(id, 3, status(3)));
    });
    const events = await eventsOf(server.url, 3);
    expect(
      events.map(({ kind, seq }) => [kind, seq]),
      json,
    ).toEqual([
      ["status", 1],
      ["unreadable", 2],
      ["status", 3],
    ]);
    client?.close();
  }
}, 60_000);

it("content that is JSON but not an object becomes an empty object", async () => {
  await using server = await lyingServer(({ id, method }, socket) => {
    if (method !== "subscription") return;
    for (const [at, content] of ["null", "5", "[]"].entries()) {
      const header = { msg_id: "a", msg_type: "stream" };
      const json = `{"kind":"jupyter","seq":${at + 1},"channel":"iopub","header":${JSON.stringify(header)},"parent_header":null,"metadata":[],"content":${content},"buffers":[]}`;
      socket.send(frame(id, at + 1, json));
    }
  });
  const events = await eventsOf(server.url, 3);
  for (const event of events) {
    expect(event).toMatchObject({ kind: "other", content: {}, metadata: {} });
  }
});

it("numbers that the server skips are a gap", async () => {
  await using server = await lyingServer(({ id, method }, socket) => {
    if (method !== "subscription") return;
    socket.send(frame(id, 1, status(1)));
    socket.send(frame(id, 5, status(5)));
    socket.send(frame(id, 5, status(5))); // once more
    socket.send(frame(id, 6, status(6)));
  });
  const events = await eventsOf(server.url, 4);
  expect(events).toEqual([
    JSON.parse(status(1)),
    { kind: "gap", seq: 4, from: 2, to: 4 },
    JSON.parse(status(5)),
    JSON.parse(status(6)),
  ]);
});

it.each([
  ["a binary frame", Buffer.from("{}")],
  ["text that is not JSON", "what?"],
  ["JSON that is not an answer", "[1,2]"],
])(
  "a server that repeatedly sends %s: the client closes with an error that names the problem",
  async (_, data) => {
    let opened = 0;
    await using server = await lyingServer(({ method }, socket) => {
      if (method !== "subscription") return;
      opened += 1;
      socket.send(data);
    });
    client = await connect({ url: server.url });
    const pending = client.session("s").execute("1 + 1");
    await expect(pending).rejects.toThrow(ConnectionError);
    await expect(pending).rejects.toThrow(/cannot be read/);
    expect(client.connection.state).toBe("closed");
    expect(opened).toBeLessThan(20);
  },
);

it("a frame that is larger than any string, repeated, closes the client with an error that names the problem", async () => {
  await using server = await lyingServer(({ method }, socket) => {
    if (method !== "subscription") return;
    // The beginning of a frame of 1 TiB.
    const { _socket: stream } = socket as unknown as {
      _socket: NodeJS.WritableStream;
    };
    stream.write(
      Buffer.from([0x81, 127, 0, 0, 1, 0, 0, 0, 0, 0, ...Buffer.from("{")]),
    );
  });
  client = await connect({
    url: server.url,
    token: "so that the client uses `ws`",
  });
  const reader = client.session("s").events({ after: 0 });
  await expect(reader.next()).rejects.toThrow(/Max payload size exceeded/);
});

it("a failure with an unknown reason has the server's message", async () => {
  await using server = await lyingServer(({ id, params }, socket) => {
    if (params?.path === "sessions.events") return;
    const data = { code: "CONFLICT", failure: { reason: "of_the_future" } };
    const error = { code: -32009, message: "Not on a Sunday", data };
    socket.send(JSON.stringify({ id, error }));
  });
  client = await connect({ url: server.url });
  const pending = client.session("s").execute("1 + 1");
  await expect(pending).rejects.toThrow("Not on a Sunday");
});

it("an answer that cannot be read rejects its call", async () => {
  for (const answer of ["{nope", '"result":5}', '"error":"no"}', '"x":1}']) {
    await using server = await lyingServer(({ id, params }, socket) => {
      if (params?.path === "sessions.events") return;
      socket.send(`{"id":${JSON.stringify(id)},${answer}`);
    });
    client = await connect({ url: server.url });
    const pending = client.session("s").execute("1 + 1");
    await expect(pending, answer).rejects.toThrow("cannot be read");
    client.close();
  }
});

/** The number of items. */
async function toEnd(all: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const one of all) count += one === undefined ? 0 : 1;
  return count;
}

/** The same numbers for the same seed (mulberry32). */
function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const SEEDS = Number(process.env["KALLICHORE_LIES"] ?? 25);

it.each(Array.from({ length: SEEDS }, (_, at) => at + 1))(
  "random data of seed %i causes no uncaught exception and no endless wait",
  async (seed) => {
    const random = randomOf(seed);
    const any = <T>(values: readonly T[]): T =>
      values[Math.floor(random() * values.length)] as T;
    const value = (depth = 0): unknown =>
      any<() => unknown>([
        () => null,
        () => any([0, -1, 1.5, 2 ** 53, 1e300]),
        () => any(["", "x", "iopub", `${journal_id}:3`, "\ud8ff", "__proto__"]),
        () => any([true, false]),
        () => (depth > 3 ? [] : [value(depth + 1), value(depth + 1)]),
        () =>
          depth > 3
            ? {}
            : Object.fromEntries(
                ["kind", "seq", "id", "data", "header", "content", "msg_type"]
                  .filter(() => random() < 0.5)
                  .map((name) => [name, value(depth + 1)]),
              ),
      ])();
    const message = (parent: unknown): Record<string, unknown> => ({
      kind: any(["jupyter", "jupyter", "status", "exited", "gap", "journal"]),
      seq: any<unknown>([1, 2, 3, 4, 1e15, -1, "1", null]),
      channel: any(["iopub", "shell", "stdin", "nowhere"]),
      header: {
        msg_id: "m",
        msg_type: any(["stream", "status", "execute_reply", "input_request"]),
      },
      parent_header: any<unknown>([{ msg_id: parent }, null, 5]),
      metadata: any<unknown>([{}, [], null]),
      content: any<unknown>([
        { execution_state: "idle" },
        { status: any(["ok", "error", "x"]) },
        { name: "stdout", text: 5 },
        value(),
      ]),
      buffers: any<unknown>([[], ["AAAA"], ["%"], [{}], "x"]),
      exit_code: 0,
      signal: null,
      output: "",
      status: any(["idle", "gone"]),
      reason: null,
      from: 1,
      to: any([1, 99]),
      journal_id: any([journal_id, "another"]),
      previous_journal_id: "x",
    });
    let last: string | number = 1;
    let executed: unknown;
    const lie = (request: TrpcRequest, socket: WebSocket) => {
      const { id } = request;
      last = any([id, last]);
      const { execution_id } = (request.params?.input ?? {}) as {
        execution_id?: unknown;
      };
      executed = execution_id ?? executed;
      const seq = any([1, 2, 3, 4, 5]);
      const whole = frame(id, seq, JSON.stringify(message(executed)));
      any<() => void>([
        () => socket.send(whole),
        () => socket.send(whole),
        () => socket.send(whole),
        () => socket.send(whole.slice(0, Math.floor(random() * whole.length))),
        () => socket.send(whole.replace('"iopub"', "NaN")),
        () => socket.send(Buffer.from(whole)),
        () => socket.send(JSON.stringify(value())),
        () => socket.send(JSON.stringify({ id, result: value() })),
        () => socket.send(JSON.stringify({ id, error: value() })),
        () =>
          socket.send(JSON.stringify({ id: last, result: { data: value() } })),
        () =>
          socket.send(JSON.stringify({ id: 4711, result: { type: "data" } })),
        () => socket.send(JSON.stringify({ id: null, method: "reconnect" })),
        () => socket.send(JSON.stringify({ id, result: { type: "started" } })),
        () => socket.send(JSON.stringify({ id, result: { type: "stopped" } })),
        () => socket.send("x".repeat(1_000_000)),
        () => socket.send("PING"),
        () => socket.close(any([1000, 1001, 1002, 1009, 1011, 4000, 4408])),
        () => socket.terminate(),
      ])();
      if (random() < 0.8 && socket.readyState === WebSocket.OPEN) {
        setImmediate(() => lie(request, socket));
      }
    };
    await using server = await lyingServer(lie, () =>
      any<unknown>([session, session, session, value(), "{nope", "<html>"]),
    );
    client = await connect({ url: server.url, timeout_ms: 2_000 }).catch(
      () => undefined,
    );
    if (client === undefined) return;
    const signal = AbortSignal.timeout(400);
    const handle = client.session("s");
    const settled = await Promise.allSettled([
      handle.execute("1 + 1", { signal }),
      toEnd(handle.execute("2 + 2", { signal })),
      toEnd(handle.events({ after: 0, signal })),
      handle.complete("x", 1, { signal }),
      handle.snapshot({ signal }),
      client.sessions.list({ signal }),
      (async () => {
        const comm = await handle.comms.attach("c", "", { signal });
        await toEnd(comm.messages({ signal }));
      })(),
      (async () => {
        await handle.execution("e", { signal });
      })(),
    ]);
    expect(settled).toHaveLength(8); // every call has settled
    client.close();
  },
  20_000,
);
