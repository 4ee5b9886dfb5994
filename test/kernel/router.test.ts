/** What listens for registrations, before strangers; that kernels reach it is asked in `test/kernels`. */
import { once } from "node:events";
import { connect } from "node:net";
import { expect, test } from "vitest";
import { Dealer } from "zeromq";
import { Router } from "../../src/kernel/zmtp/router.ts";

test("each is answered where it asked", async () => {
  using router = await Router.bind((frames, answer) => {
    answer([Buffer.from("to"), ...frames.map((frame) => Buffer.from(frame))]);
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

test("a peer that says too much is cut off, and others are heard", async () => {
  const heard: number[] = [];
  using router = await Router.bind((frames) => heard.push(frames.length));
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
  await expect.poll(() => heard, { timeout: 5_000 }).toEqual([1]);
  other.close();
});

test("the seventeenth peer at a time is turned away", async () => {
  using router = await Router.bind(() => {});
  const sockets = await Promise.all(
    Array.from({ length: 16 }, async () => {
      const socket = connect(router.port, "127.0.0.1");
      await once(socket, "data"); // the greeting: it was let in
      return socket;
    }),
  );
  const late = connect(router.port, "127.0.0.1");
  late.on("error", () => {}); // cut off is cut off
  await once(late, "close");
  expect(late.bytesRead).toBe(0);
  for (const socket of sockets) socket.destroy();
});
