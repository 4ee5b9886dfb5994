/** The frames of a channel: those that Kallichore's own types can read, and all others if the client requests them. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import type { OwnEvent } from "../../contract/index.ts";
import { Entries } from "../../src/journal/entries.ts";
import { Entry } from "../../src/journal/entry.ts";
import { payloadsIn } from "../../src/jupyter/websocket-frame.ts";
import { codecFor } from "../../src/server/doors/channels/kallichore.ts";
import type { ServerOptions } from "../../src/serve.ts";
import {
  eventually,
  type Frame,
  framesOf,
  openServerOf,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

/** Kallichore 0.1.64's names of events of a kernel. */
const KNOWN = [
  "status",
  "output",
  "executionQueued",
  "workingDirChanged",
  "resourceUsage",
  "clientDisconnected",
  "exited",
  "handshakeCompleted",
];

async function opened(options: ServerOptions = {}): Promise<TestServer> {
  const server = await openServerOf({ echo }, options);
  onTestFinished(() => server[Symbol.asyncDispose]());
  return server;
}

function attach(url: string): { frames: readonly Frame[]; socket: WebSocket } {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const socket = new WebSocket(url, { headers });
  onTestFinished(() => socket.terminate());
  socket.on("error", () => {});
  return { frames: framesOf(socket), socket };
}

function idle(frames: readonly Frame[]): Promise<Frame> {
  return eventually("the idle of an execution", () =>
    frames.find(({ status }) => {
      const { status: state, reason } = (status ?? {}) as Frame;
      return state === "idle" && reason === "execute_request";
    }),
  );
}

/** The members of the supervisor's own frames, beside `kind`. */
function namesIn(frames: readonly Frame[]): string[][] {
  return frames
    .filter(({ kind }) => kind === "kernel")
    .map((frame) => Object.keys(frame).filter((name) => name !== "kind"));
}

async function liveAt(
  server: TestServer,
  address: (session_id: string) => string,
): Promise<readonly Frame[]> {
  const session = await server.start("echo");
  const { frames } = attach(address(session));
  await server.ask("POST", `/sessions/${session}/execute`, { code: "print x" });
  await idle(frames);
  await server.ask("POST", `/sessions/${session}/kill`);
  await eventually("the exit", () => frames.find((frame) => "exited" in frame));
  return frames;
}

describe.each([
  ["/sessions/{id}/channels", (id: string) => `/sessions/${id}/channels`],
  ["/api/channels/{id}", (id: string) => `/api/channels/${id}`],
])("at %s", (_, path) => {
  test("an event of the server has exactly one member beside kind, which Kallichore knows", async () => {
    const server = await opened();
    const url = server.url.replace("http", "ws");
    const names = namesIn(await liveAt(server, (id) => `${url}${path(id)}`));
    expect(names.filter(({ length }) => length !== 1)).toEqual([]);
    expect(names.flat()).toEqual(expect.arrayContaining(["status", "exited"]));
    expect(names.flat().filter((name) => !KNOWN.includes(name))).toEqual([]);
  });

  test("a client that requests all events gets the number of each", async () => {
    const server = await opened();
    const url = server.url.replace("http", "ws");
    const frames = await liveAt(
      server,
      (id) => `${url}${path(id)}?token=x&events=all`,
    );
    const numbers = frames.map(({ seq }) => seq);
    expect(numbers).toEqual(frames.map((_frame, index) => index + 1));
  });
});

test("another value of `events` changes nothing", async () => {
  const server = await opened();
  const url = server.url.replace("http", "ws");
  const frames = await liveAt(
    server,
    (id) => `${url}/sessions/${id}/channels?events=some`,
  );
  expect(namesIn(frames).filter(({ length }) => length !== 1)).toEqual([]);
});

test("a message of the kernel always has its number", async () => {
  const server = await opened();
  const url = server.url.replace("http", "ws");
  const frames = await liveAt(server, (id) => `${url}/sessions/${id}/channels`);
  const numbers = frames
    .filter(({ kind }) => kind === "jupyter")
    .map(({ seq }) => seq as number);
  expect(numbers.length).toBeGreaterThan(3);
  expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
});

test("on a session's own socket the client can request them in any path", async () => {
  const folder = mkdtempSync(join(tmpdir(), "kct-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "s.sock");
  const server = await opened({ address: { transport: "socket", path } });
  const session = await server.start("echo");
  const { body } = await server.ask("GET", `/sessions/${session}/channels`);
  const all = attach(`ws+unix://${body as string}:/anything?events=all`);
  await eventually("a status with its number", () =>
    all.frames.find((frame) => "status" in frame && "seq" in frame),
  );
  const plain = attach(`ws+unix://${body as string}:/anything`);
  await eventually("the final message", () =>
    all.frames.find((frame) => "clientDisconnected" in frame),
  );
  await server.ask("POST", `/sessions/${session}/execute`, { code: "x" });
  await idle(plain.frames);
  expect(namesIn(plain.frames).filter(({ length }) => length !== 1)).toEqual(
    [],
  );
});

describe("a gap", () => {
  const limits = { journal_memory_bytes: 4096, server_disk_bytes: 0 };

  async function flooded(
    server: TestServer,
    query: string,
  ): Promise<readonly Frame[]> {
    const session = await server.start("echo");
    await server.ask("POST", `/sessions/${session}/execute`, {
      code: "flood 500",
    });
    const url = server.url.replace("http", "ws");
    const { frames } = attach(`${url}/sessions/${session}/channels${query}`);
    await idle(frames);
    return frames;
  }

  test("is reported to a client that requests all events", async () => {
    const frames = await flooded(await opened({ limits }), "?events=all");
    const { gap, seq } = frames.find((frame) => "gap" in frame) ?? {};
    expect(gap).toMatchObject({ from: 1 });
    expect(seq).toBe((gap as { to: number }).to);
  });

  test("is no frame for other clients", async () => {
    const frames = await flooded(await opened({ limits }), "");
    expect(namesIn(frames).flat()).not.toContain("gap");
  });
});

test("the state of an execution is sent in Kallichore's form if it has one, and as our event on request", () => {
  const about = { execution_id: "x", reason: null, first_seq: 8, last_seq: 9 };
  const frames = (state: "queued" | "running" | "done", address: string) =>
    framesFor(address, { kind: "execution", state, ...about });
  expect(frames("queued", "/x")).toEqual([
    { kind: "kernel", executionQueued: "x" },
  ]);
  for (const state of ["running", "done"] as const) {
    expect(frames(state, "/x")).toEqual([]);
    expect(frames(state, "/x?events=all")).toEqual([
      { kind: "kernel", execution: { state, ...about }, seq: 9 },
    ]);
  }
  expect(frames("queued", "/x?events=all")).toEqual([
    {
      kind: "kernel",
      executionQueued: "x",
      execution: { state: "queued", ...about },
      seq: 9,
    },
  ]);
});

test("an event that only this server has is encoded in the same form, on request", () => {
  const event = {
    kind: "some_new_event",
    channel: "iopub",
    size: 7,
  } as unknown as OwnEvent;
  expect(framesFor("/sessions/a/channels", event)).toEqual([]);
  const [frame] = framesFor("/x?events=all", event);
  expect(frame).toEqual({
    kind: "kernel",
    someNewEvent: { channel: "iopub", size: 7 },
    seq: 9,
  });
});

/** An event as number 9, as a client at that address receives it. */
function framesFor(address: string, event: OwnEvent): unknown[] {
  const frames: unknown[] = [];
  const entries = Entries.of(Entry.ofEvent(9, event));
  codecFor(address).encode(
    { journal_id: "a", reading: { entries } },
    (pieces) => {
      if (pieces === undefined) return;
      for (const payload of payloadsIn(Buffer.concat(pieces))) {
        frames.push(JSON.parse(payload.toString()));
      }
    },
  );
  return frames;
}
