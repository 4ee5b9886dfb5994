/** The sockets that our kernels bind, tested with libzmq. */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { Dealer, Request, Socket, Subscriber } from "zeromq";
import { Router, XPublisher } from "../../kernels/bound.ts";

const open: (Bound | Socket)[] = [];
afterEach(() => {
  for (const socket of open.splice(0)) {
    if (socket instanceof Socket) socket.close();
    else void socket.close(0);
  }
});

type Bound = Router | XPublisher;

function opened<T extends Bound | Socket>(socket: T): T {
  open.push(socket);
  return socket;
}

const LOCAL = { transport: "tcp", ip: "127.0.0.1", port: 0 } as const;
const SOCKET_OPTIONS = { linger: 0, receiveTimeout: 10_000 };

async function boundRouter() {
  const router = opened(new Router());
  const port = await router.bind(LOCAL);
  return { router, endpoint: `tcp://127.0.0.1:${port}` };
}

async function next(socket: Bound) {
  for await (const frames of socket)
    return frames.map((frame) => Buffer.from(frame));
  throw new Error("It was closed");
}

function dealer(endpoint: string, routingId?: string) {
  const socket = opened(
    new Dealer({
      ...SOCKET_OPTIONS,
      ...(routingId !== undefined && { routingId }),
    }),
  );
  socket.connect(endpoint);
  return socket;
}

it("a router answers each peer by its identity, with messages of any size", async () => {
  const { router, endpoint } = await boundRouter();
  const [named, nameless] = [dealer(endpoint, "client"), dealer(endpoint)];
  const large = randomBytes(3_000_000);
  await named.send(["", "a", large]);
  const received = await next(router);
  expect(received.map(({ length }) => length)).toEqual([6, 0, 1, large.length]);
  expect(String(received[0])).toBe("client");
  expect(received[3]?.equals(large)).toBe(true);
  await nameless.send("b");
  const [identity] = await next(router);
  expect(identity).toHaveLength(5);

  await router.send([Buffer.from("client"), large, Buffer.alloc(0)]);
  await router.send([identity ?? Buffer.alloc(0), Buffer.from("yours")]);
  await router.send([Buffer.from("nobody"), Buffer.from("lost")]);
  const [back, empty] = await named.receive();
  expect(back?.equals(large)).toBe(true);
  expect(empty).toHaveLength(0);
  expect(await nameless.receive()).toEqual([Buffer.from("yours")]);
});

it("a router answers a REQ socket", async () => {
  const { router, endpoint } = await boundRouter();
  const request = opened(new Request(SOCKET_OPTIONS));
  request.connect(endpoint);
  await request.send("question");
  const [identity = Buffer.alloc(0), empty] = await next(router);
  await router.send([identity, empty ?? identity, Buffer.from("answer")]);
  expect(String(await request.receive())).toBe("answer");
});

it("a peer that reconnects with the same identity replaces its old connection", async () => {
  const { router, endpoint } = await boundRouter();
  const first = dealer(endpoint, "client");
  await first.send("1");
  await next(router);
  const second = dealer(endpoint, "client");
  await second.send("2");
  await next(router);
  await router.send([Buffer.from("client"), Buffer.from("to the second")]);
  expect(String(await second.receive())).toBe("to the second");
});

it("a peer that sends faster than the kernel reads must wait, and no message is lost", async () => {
  const { router, endpoint } = await boundRouter();
  const socket = dealer(endpoint);
  const count = 5_000;
  const sending = (async () => {
    for (let i = 0; i < count; i += 1) await socket.send(String(i));
  })();
  let received = 0;
  for await (const [, body] of router) {
    expect(Buffer.from(body ?? []).toString()).toBe(String(received));
    received += 1;
    if (received % 500 === 0) await new Promise(setImmediate);
    if (received === count) break;
  }
  await sending;
});

it("a publisher receives subscriptions, and sends messages of the subscribed topics", async () => {
  const publisher = opened(new XPublisher(10_000));
  const port = await publisher.bind(LOCAL);
  const [all, some] = ["", "stream"].map((topic) => {
    const socket = opened(new Subscriber(SOCKET_OPTIONS));
    socket.connect(`tcp://127.0.0.1:${port}`);
    socket.subscribe(topic);
    return socket;
  });
  const topics = [await next(publisher), await next(publisher)];
  expect(topics.map(([frame]) => String(frame)).toSorted()).toEqual([
    "\x01",
    "\x01stream",
  ]);
  await publisher.send([Buffer.from("status"), Buffer.from("1")]);
  await publisher.send([Buffer.from("stream.a"), Buffer.from("2")]);
  expect((await all?.receive())?.map(String)).toEqual(["status", "1"]);
  expect((await all?.receive())?.map(String)).toEqual(["stream.a", "2"]);
  expect((await some?.receive())?.map(String)).toEqual(["stream.a", "2"]);
  some?.unsubscribe("stream");
  expect(String((await next(publisher))[0])).toBe("\x00stream");
});

it("messages that were sent before the close still leave", async () => {
  const { router, endpoint } = await boundRouter();
  const socket = dealer(endpoint, "client");
  await socket.send("hello");
  await next(router);
  const large = randomBytes(20_000_000);
  await router.send([Buffer.from("client"), large]);
  await router.close(10_000);
  expect((await socket.receive())[0]?.equals(large)).toBe(true);
});

it.skipIf(process.platform === "win32")(
  "a Unix socket that an earlier kernel left is replaced",
  async () => {
    const folder = await mkdtemp(join(tmpdir(), "bound-"));
    const place = { transport: "ipc", ip: join(folder, "kernel"), port: 1 };
    try {
      const before = new Router();
      await before.bind(place);
      const router = opened(new Router());
      expect(await router.bind(place)).toBe(1);
      const socket = dealer(`ipc://${place.ip}-1`);
      await socket.send("hello");
      expect(String((await next(router))[1])).toBe("hello");
      await before.close(0);
    } finally {
      await rm(folder, { recursive: true });
    }
  },
);

it("a port of another process is refused", async () => {
  const { endpoint } = await boundRouter();
  const port = Number(endpoint.split(":").at(-1));
  await expect(new Router().bind({ ...LOCAL, port })).rejects.toThrow(
    "EADDRINUSE",
  );
});
