/** The registration socket, with foreign processes as peers; `test/kernels` tests that kernels can register. */
import { once } from "node:events";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { Dealer } from "zeromq";
import { bindRouter } from "../../src/zmq/zmtp/router.ts";

test("each peer gets its own answer", async () => {
  using router = await bindRouter((frames, sender) => {
    sender.answer([
      Buffer.from("to"),
      ...frames.map((frame) => Buffer.from(frame)),
    ]);
  });
  const peers = ["a", "b"].map((name) => {
    const socket = new Dealer({ linger: 0, receiveTimeout: 5_000 });
    socket.connect(`tcp://127.0.0.1:${router.port}`);
    return { name, socket };
  });
  for (const { name, socket } of peers) await socket.send(name);
  for (const { name, socket } of peers.reverse()) {
    const answer = await socket.receive();
    expect(answer.map(String)).toEqual(["to", name]);
    socket.close();
  }
});

test("a peer that sends too much is disconnected, and others are received", async () => {
  const received: number[] = [];
  using router = await bindRouter((frames) => received.push(frames.length));
  const chatty = new Dealer({ linger: 0, reconnectInterval: 60_000 });
  chatty.connect(`tcp://127.0.0.1:${router.port}`);
  const lost = new Promise<void>((resolve) => {
    chatty.events.on("disconnect", () => resolve());
  });
  await chatty.send(Buffer.alloc(1024 * 1024));
  await lost;
  chatty.close();
  const other = new Dealer({ linger: 0 });
  other.connect(`tcp://127.0.0.1:${router.port}`);
  await other.send("x");
  await expect.poll(() => received, { timeout: 5_000 }).toEqual([1]);
  other.close();
});

test("the seventeenth connection replaces the first", async () => {
  using router = await bindRouter(() => {});
  const sockets = [];
  for (let nth = 0; nth < 17; nth += 1) {
    const socket = connect(router.port, "127.0.0.1").on("error", () => {});
    await once(socket, "data"); // the greeting shows that it was accepted
    sockets.push(socket);
  }
  const [first, ...others] = sockets;
  if (first?.closed === false) await once(first, "close");
  expect(others.every(({ closed }) => !closed)).toBe(true);
  for (const socket of others) socket.destroy();
});

test("messages of a disconnected peer are not received", async () => {
  const received: string[] = [];
  using router = await bindRouter(([frame], sender) => {
    received.push(String(frame));
    sender.disconnect();
  });
  const stranger = new Dealer({ linger: 0, reconnectInterval: 60_000 });
  stranger.connect(`tcp://127.0.0.1:${router.port}`);
  const lost = new Promise<void>((resolve) => {
    stranger.events.on("disconnect", () => resolve());
  });
  for (const text of ["1", "2", "3"]) await stranger.send(text);
  await lost;
  stranger.close();
  expect(received).toEqual(["1"]);
});
