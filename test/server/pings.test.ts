/** Pings over a real socket, with a client in another process. */
import { fork } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { createRequire } from "node:module";
import { expect, onTestFinished, test, vi } from "vitest";
import { type WebSocket, WebSocketServer } from "ws";
import { guardOf } from "../../src/log/guard.ts";
import { silentLog } from "../../src/log/log.ts";
import { Pings } from "../../src/server/doors/channels/pings.ts";
import { eventually, temporaryFolder } from "../harness.ts";

/** No other data is sent. */
const frames = { flush() {} };
const guard = guardOf(silentLog());
const TIMES = { every_ms: 50, timeout_ms: 400 };

/** The server's end of a connection to a client that answers pings, or does not. */
async function connection(answers: boolean): Promise<WebSocket> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const program = join(temporaryFolder(), "client.cjs");
  const ws = createRequire(import.meta.url).resolve("ws");
  writeFileSync(
    program,
    `const { WebSocket } = require(${JSON.stringify(ws)});
     new WebSocket("ws://127.0.0.1:${port}", { autoPong: ${answers} }).on("error", () => {});`,
  );
  const child = fork(program, { execArgv: [] });
  const [socket] = (await once(server, "connection")) as [WebSocket];
  onTestFinished(async () => {
    child.kill("SIGKILL");
    socket.terminate();
    server.close();
    await once(child, "exit");
  });
  return socket;
}

test("an owner is not disconnected for pings that it could not answer while the server was stopped", async () => {
  const socket = await connection(true);
  const received: number[] = [];
  const pings = new Pings(
    socket,
    frames,
    { acknowledge: (seq) => received.push(seq) },
    { guard, ...TIMES },
  );
  onTestFinished(() => pings.closed(1006));
  let pongs = 0;
  socket.on("pong", () => (pongs += 1));
  await eventually("a pong", () => (pongs > 1 ? true : undefined));

  pings.sent(1, 1);
  pings.pingAtOnce();
  standStill(5 * TIMES.timeout_ms);

  const before = pongs;
  await eventually("more pongs", () => (pongs > before + 3 ? true : undefined));
  expect(socket.readyState).toBe(socket.OPEN);
  expect(received).toContain(1);
});

test("an owner that stops answering is disconnected", async () => {
  const socket = await connection(false);
  const pings = new Pings(
    socket,
    frames,
    { acknowledge: () => {} },
    {
      guard,
      ...TIMES,
    },
  );
  onTestFinished(() => pings.closed(1006));
  await once(socket, "close");
});

test("one pong alone is not accepted: a broken connection may have damaged it", async () => {
  const socket = await connection(false);
  const received: number[] = [];
  const claim = { acknowledge: (seq: number) => received.push(seq) };
  const pings = new Pings(socket, frames, claim, { guard });
  onTestFinished(() => pings.closed(1006));
  const pinged = vi.spyOn(socket, "ping");
  pings.sent(7, 1);
  pings.pingAtOnce(); // the second ping
  socket.emit("pong", payloadOf(2));
  expect(received).not.toContain(7);
  await eventually("the third ping, which the answer caused", () =>
    pinged.mock.calls.length === 2 ? true : undefined,
  );
  socket.emit("pong", payloadOf(3));
  expect(received).toContain(7);
});

test("a client is pinged after 32 KiB, although it has not answered", async () => {
  const socket = await connection(false);
  const pings = new Pings(socket, frames, { acknowledge: () => {} }, { guard });
  onTestFinished(() => pings.closed(1006));
  const pinged = vi.spyOn(socket, "ping");
  for (let seq = 1; seq <= 4; seq += 1) pings.sent(seq, 16 * 1024 - 1);
  expect(pinged).toHaveBeenCalledTimes(1); // after the third entry
  pings.sent(5, 16 * 1024 + 1);
  expect(pinged).toHaveBeenCalledTimes(2);
});

test("a ping for new messages does not wait for a later one that is due", () => {
  vi.useFakeTimers();
  onTestFinished(() => void vi.useRealTimers());
  const ping = vi.fn();
  const socket = Object.assign(new EventEmitter(), {
    OPEN: 1,
    readyState: 1,
    ping,
  });
  const pings = new Pings(
    socket as unknown as WebSocket,
    frames,
    { acknowledge: () => {} },
    { guard },
  );
  onTestFinished(() => pings.closed(1006));
  for (let seq = 1; seq < 16; seq += 1) {
    pings.sent(seq, 1);
    pings.requestAcknowledgement();
  }
  expect(ping).toHaveBeenCalledTimes(16);
  socket.emit("pong", payloadOf(16)); // it is accepted with the next pong: a ping after 50 ms
  pings.sent(16, 1);
  pings.requestAcknowledgement();
  vi.advanceTimersByTime(19);
  expect(ping).toHaveBeenCalledTimes(16);
  vi.advanceTimersByTime(2);
  expect(ping).toHaveBeenCalledTimes(17);
});

function payloadOf(number: number): Buffer {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64BE(BigInt(number));
  return payload;
}

/** As a stopped process, or a sleeping machine: no code of this process runs, and timers are late. */
function standStill(duration_ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, duration_ms);
}
