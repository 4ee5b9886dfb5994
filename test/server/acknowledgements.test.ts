/** The next owner of a channel receives the messages that no earlier owner is known to have read. */
import { once } from "node:events";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { WebSocket } from "ws";
import {
  eventually,
  type Frame,
  framesOf,
  openServerOf,
  type TestServer,
  TOKEN,
} from "../harness.ts";
import { echo } from "../kernels/echo-script.ts";

let server: TestServer;
let count = 0;
beforeAll(async () => {
  server = await openServerOf({ echo });
});
afterAll(() => server[Symbol.asyncDispose]());

interface Owner {
  readonly socket: WebSocket;
  readonly frames: readonly Frame[];
  /** The pings that have arrived, each with the number of the last message before it. */
  readonly pings: { readonly payload: Buffer; readonly after: number }[];
}

/** An owner. Default: it answers pings only when the test does. */
async function own(session: string, { autoPong = false } = {}): Promise<Owner> {
  const url = server.url.replace("http", "ws");
  const socket = new WebSocket(
    `${url}/sessions/${session}/channels?events=all`,
    { headers: { authorization: `Bearer ${TOKEN}` }, autoPong },
  );
  socket.on("error", () => {});
  onTestFinished(() => socket.terminate());
  const frames = framesOf(socket);
  const pings: Owner["pings"] = [];
  socket.on("ping", (payload: Buffer) => {
    pings.push({ payload, after: Number(frames.at(-1)?.["seq"] ?? 0) });
  });
  await once(socket, "open");
  return { socket, frames, pings };
}

/** Runs code, and resolves with the number of its last message when the owner has it. */
async function run({ frames }: Owner, session: string): Promise<number> {
  const path = `/sessions/${session}`;
  await server.ask("POST", `${path}/execute`, { code: "hello" });
  const { last_seq } = (await server.ask("GET", path)).body as {
    last_seq: number;
  };
  await eventually(`number ${last_seq}`, () =>
    frames.find(({ seq }) => seq === last_seq),
  );
  return last_seq;
}

/** The payload of a ping that arrived after this message. */
async function pingAfter({ pings }: Owner, seq: number): Promise<Buffer> {
  const ping = await eventually("a ping", () =>
    pings.find(({ after }) => after >= seq),
  );
  return ping.payload;
}

function firstOf({ frames }: Owner): Promise<unknown> {
  return eventually("a frame", () => frames[0]?.["seq"]);
}

test("an owner that answers the server's close has received all sent messages", async () => {
  const session = await server.start("echo", `leaves-${(count += 1)}`);
  const first = await own(session);
  const received = await run(first, session);
  first.socket.close(4409); // only the server begins a close with this code
  await once(first.socket, "close");
  const next = await own(session);
  await run(next, session);
  expect(await firstOf(next)).toBe(received + 1);
});

test.each([
  ["without a code", undefined],
  ["in order", 1000],
  ["because its page is left", 1001],
])(
  "an owner that closes %s has received what it acknowledged last, and perhaps no more",
  async (_, code) => {
    const session = await server.start("echo", `leaves-${(count += 1)}`);
    const first = await own(session);
    const { socket } = first;
    const received = await run(first, session);
    const ping = await pingAfter(first, received);
    await run(first, session);
    socket.pong(ping); // the close shows that it is not damaged
    socket.close(code);
    await once(socket, "close");
    const next = await own(session);
    expect(await firstOf(next)).toBe(received + 1);
  },
);

test("what an owner had not read when it closed goes to the next owner", async () => {
  const session = await server.start("echo", `unread-${(count += 1)}`);
  const first = await own(session, { autoPong: true });
  const received = await run(first, session);
  first.socket.pause();
  await server.ask("POST", `/sessions/${session}/execute`, { code: "hello" });
  first.socket.close(1000);
  const next = await own(session);
  expect(await firstOf(next)).toBeLessThanOrEqual(received + 1);
});

test("an owner whose connection breaks has received only what it acknowledged", async () => {
  const session = await server.start("echo", `breaks-${(count += 1)}`);
  const first = await own(session);
  await run(first, session);
  first.socket.terminate();
  expect(await firstOf(await own(session))).toBe(1);
});

test("messages that a displaced owner acknowledges late are not sent to the next owner", async () => {
  const session = await server.start("echo", `displaced-${(count += 1)}`);
  const first = await own(session);
  const { socket } = first;
  const received = await run(first, session);
  const ping = await pingAfter(first, received);
  const last = await pingAfter(first, await run(first, session));
  socket.on("message", (data: Buffer) => {
    if (!data.includes("clientDisconnected")) return;
    for (const payload of [ping, last]) socket.pong(payload);
    socket.close(3000);
  });
  const next = await own(session);
  // Of two answers the last is not trusted: a broken connection may have damaged it.
  expect(await firstOf(next)).toBe(received + 1);
});
