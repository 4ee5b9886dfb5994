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
  /** The pings that arrived and were not answered. */
  readonly pings: Buffer[];
}

/** An owner that answers pings only when a test does. */
async function own(session: string): Promise<Owner> {
  const url = server.url.replace("http", "ws");
  const socket = new WebSocket(
    `${url}/sessions/${session}/channels?events=all`,
    { headers: { authorization: `Bearer ${TOKEN}` }, autoPong: false },
  );
  socket.on("error", () => {});
  onTestFinished(() => socket.terminate());
  const pings: Buffer[] = [];
  socket.on("ping", (payload: Buffer) => pings.push(payload));
  const frames = framesOf(socket);
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

function firstOf({ frames }: Owner): Promise<unknown> {
  return eventually("a frame", () => frames[0]?.["seq"]);
}

test.each([
  ["without a code", undefined],
  ["in order", 1000],
  ["with the code of a displaced owner", 4409],
])(
  "an owner that closes %s has acknowledged all sent messages",
  async (_, code) => {
    const session = await server.start("echo", `leaves-${(count += 1)}`);
    const first = await own(session);
    const received = await run(first, session);
    first.socket.close(code);
    await once(first.socket, "close");
    const next = await own(session);
    await run(next, session);
    expect(await firstOf(next)).toBe(received + 1);
  },
);

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
  const { socket, pings } = first;
  const received = await run(first, session);
  await eventually("a ping", () => pings[0]);
  socket.pong(pings[0]); // for the beginning; the next ping follows the later messages
  await eventually("the next ping", () => pings[1]);
  await run(first, session); // this ping stays unanswered, so no ping follows these messages
  socket.on("message", (data: Buffer) => {
    if (!data.includes("clientDisconnected")) return;
    for (const ping of pings.slice(1)) socket.pong(ping);
    socket.close(3000);
  });
  const next = await own(session);
  // Of two answers the last is not trusted: a broken connection may have damaged it.
  expect(await firstOf(next)).toBe(received + 1);
});
