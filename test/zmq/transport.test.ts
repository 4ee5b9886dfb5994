/**
 * The promises of the port, tested with both drivers over TCP and Unix sockets,
 * and with libzmq's own sockets as the peer.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { Publisher, Reply, Router, XPublisher } from "zeromq";
import { libzmq } from "../../src/zmq/libzmq.ts";
import {
  WAITING_LIMIT,
  type KernelTransport,
} from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { LARGE, SLAB_SIZE } from "../../src/zmq/zmtp/decoder.ts";
import { WRITE_SIZE } from "../../src/zmq/zmtp/encoder.ts";
import { eventually } from "../harness.ts";
import { Listener } from "./listener.ts";
import { bound, closeAll, freeEndpoint, unboundEndpoint } from "./peers.ts";

const DRIVERS = [zmtp, libzmq];
const KINDS = process.platform === "win32" ? ["tcp"] : ["tcp", "ipc"];
const CASES = DRIVERS.flatMap((driver) =>
  KINDS.map((kind) => ({ driver, kind: kind as "tcp" | "ipc" })),
);

/** Sizes around every boundary of a header, a slab or a write. */
const SIZES = [
  ...[0, 1, 2, 127, 128],
  ...[255, 65_535, LARGE, WRITE_SIZE, SLAB_SIZE, 2 * SLAB_SIZE].flatMap(
    (size) => [size - 9, size - 2, size - 1, size, size + 1, size + 9],
  ),
  1_000_000,
  10_000_000,
];

afterEach(closeAll);

describe.each(CASES)("$driver.name over $kind", ({ driver, kind }) => {
  const dealer = (endpoint: string, identity?: Uint8Array): Listener =>
    new Listener(driver, {
      type: "dealer",
      endpoint,
      ...(identity !== undefined && { identity }),
    });

  it("carries frames of every size, both ways", async () => {
    const router = new Router();
    using link = dealer(await bound(router, freeEndpoint(kind)));
    const echoed = echo(router, 2 * SIZES.length);
    const sent = [
      ...SIZES.map((size, i) => [pattern(size, i)]),
      ...SIZES.map((size, i) => [
        pattern(size, i),
        pattern(i, size),
        pattern(SIZES[(i * 7) % SIZES.length] ?? 0, i),
        Buffer.alloc(0),
      ]),
    ];
    for (const frames of sent) link.send(...frames);
    const received = await link.received(sent.length);
    await echoed;
    expect(received.map(lengths)).toEqual(sent.map(lengths));
    expect(received.every((frames, i) => same(frames, sent[i] ?? []))).toBe(
      true,
    );
  });

  it("keeps the order of a burst to the peer and loses nothing", async () => {
    const count = kind === "tcp" ? 200_000 : 20_000;
    const router = new Router({ receiveHighWaterMark: 0 });
    using link = dealer(await bound(router, freeEndpoint(kind)));
    for (let i = 0; i < count; i++) link.send(`${i}`);
    for (let i = 0; i < count; i++) {
      const [, number] = await router.receive();
      if (Number(number) !== i) expect(Number(number)).toBe(i);
    }
    expect(link.link.waiting).toBe(0);
  });

  it("keeps the order of a burst from the peer and loses nothing", async () => {
    const count = kind === "tcp" ? 200_000 : 20_000;
    const publisher = new XPublisher({ sendHighWaterMark: 0 });
    using link = new Listener(driver, {
      type: "sub",
      endpoint: await bound(publisher, freeEndpoint(kind)),
    });
    await publisher.receive(); // the subscription
    for (let i = 0; i < count; i++) await publisher.send(["topic", `${i}`]);
    const received = await link.received(count);
    expect(received.findIndex(([, number], i) => Number(number) !== i)).toBe(
      -1,
    );
  });

  it("delivers messages of one read in one batch", async () => {
    const publisher = new XPublisher({ sendHighWaterMark: 0 });
    using link = new Listener(driver, {
      type: "sub",
      endpoint: await bound(publisher, freeEndpoint(kind)),
    });
    let batches = 0;
    link.onBatch = () => (batches += 1);
    await publisher.receive();
    for (let i = 0; i < 5_000; i++) await publisher.send("something");
    await link.received(5_000);
    expect(batches).toBeLessThan(2_500);
  });

  it.each([
    ["of one byte", Buffer.from([1])],
    ["that is not text", Buffer.from([1, 0, 0xff, 0xfe, 0])],
    ["of 255 bytes", Buffer.alloc(255, 0xc3)],
  ])("accepts an identity %s", async (_, identity) => {
    const router = new Router();
    using link = dealer(await bound(router, freeEndpoint(kind)), identity);
    link.send("hello");
    const [sender, text] = await router.receive();
    expect(sender).toEqual(identity);
    expect(text?.toString()).toBe("hello");
    await router.send([identity, "welcome"]);
    expect(await link.received(1)).toEqual([[Buffer.from("welcome")]]);
  });

  it("works with a REP socket, as a heartbeat does", async () => {
    const reply = new Reply();
    using link = dealer(await bound(reply, freeEndpoint(kind)));
    link.send("", "beat");
    expect(String(await reply.receive())).toBe("beat");
    await reply.send("beat");
    expect(await link.received(1)).toEqual([
      [Buffer.of(), Buffer.from("beat")],
    ]);
  });

  it("receives every topic of a PUB", async () => {
    const publisher = new Publisher();
    using link = new Listener(driver, {
      type: "sub",
      endpoint: await bound(publisher, freeEndpoint(kind)),
    });
    await link.is("connected");
    // A PUB does not report when it has read a subscription; so it sends again until a message arrives.
    const repeat = setInterval(
      () => void publisher.send(["", "a"]).then(() => publisher.send("b")),
      20,
    );
    await link
      .until(() => link.messages.some((frames) => frames.length === 1))
      .finally(() => clearInterval(repeat));
    expect(link.messages.map(String)).toContain(",a");
  });

  it("waits for a peer that does not listen yet, and then sends the earlier messages", async () => {
    const endpoint = await unboundEndpoint(kind);
    using link = dealer(endpoint);
    for (let i = 0; i < 100; i++) link.send(`${i}`);
    expect(link.states).toEqual([]);
    const router = new Router();
    await bound(router, endpoint);
    for (let i = 0; i < 100; i++) {
      expect(String((await router.receive())[1])).toBe(`${i}`);
    }
    await link.is("connected");
    expect(link.states).toEqual(["connected"]);
  });

  it("reconnects to a peer that was away", async () => {
    const first = new Router();
    const endpoint = await bound(first, freeEndpoint(kind));
    using link = dealer(endpoint);
    await link.is("connected");
    await goneFrom(endpoint, first);
    expect(await link.is("connecting")).toBeInstanceOf(Error);
    link.send("sent while no peer was connected");
    const second = new Router();
    await bound(second, endpoint);
    const [sender, text] = await second.receive();
    expect(String(text)).toBe("sent while no peer was connected");
    await link.is("connected", 2);
    await second.send([sender ?? "", "and again"]);
    expect(await link.received(1)).toEqual([[Buffer.from("and again")]]);
    expect(link.states).toEqual(["connected", "connecting", "connected"]);
  });

  it("subscribes again at a peer that was away", async () => {
    const first = new XPublisher();
    const endpoint = await bound(first, freeEndpoint(kind));
    using link = new Listener(driver, { type: "sub", endpoint });
    await first.receive();
    await goneFrom(endpoint, first);
    const second = new XPublisher();
    await bound(second, endpoint);
    await second.receive();
    await second.send("here again");
    expect(await link.received(1)).toEqual([[Buffer.from("here again")]]);
  });

  it("refuses messages beyond the limit for a peer that does not read", async () => {
    const router = new Router({ receiveHighWaterMark: 1 });
    using link = dealer(await bound(router, freeEndpoint(kind)));
    const large = Buffer.alloc(WAITING_LIMIT / 16);
    const fill = (): void => {
      for (let i = 0; i < 200; i++) link.send(large);
    };
    await link.is("connected");
    expect(fill).toThrow(
      expect.objectContaining({ name: "LinkError", why: "full" }),
    );
    expect(link.link.waiting).toBeGreaterThan(WAITING_LIMIT / 2);
    expect(link.link.waiting).toBeLessThanOrEqual(WAITING_LIMIT);
    link.link.close();
    expect(link.link.waiting).toBe(0);
  });

  it("reports closed once, and nothing after it", async () => {
    const router = new Router();
    using link = dealer(
      await bound(router, freeEndpoint(kind)),
      Buffer.from("it"),
    );
    link.send("hello");
    await router.receive();
    await link.is("connected");
    await router.send(["it", "heard, or not"]);
    link.link.close();
    link.link.close();
    expect(link.states).toEqual(["connected", "closed"]);
    expect(link.errors.at(-1)).toBeUndefined();
    expect(() => link.send("too late")).toThrow(
      expect.objectContaining({ name: "LinkError", why: "closed" }),
    );
    expect(link.link.waiting).toBe(0);
    const received = link.messages.length;
    using other = dealer(router.lastEndpoint ?? "", Buffer.from("other"));
    other.send("is it over?");
    await router.receive();
    await router.send(["other", "yes"]);
    await other.received(1);
    expect(link.messages).toHaveLength(received);
    expect(link.states).toEqual(["connected", "closed"]);
  });

  it("delivers nothing more if it is closed within a batch", async () => {
    const publisher = new XPublisher({ sendHighWaterMark: 0 });
    using link = new Listener(driver, {
      type: "sub",
      endpoint: await bound(publisher, freeEndpoint(kind)),
    });
    let batches = 0;
    link.onBatch = () => {
      batches += 1;
      link.link.close();
    };
    await publisher.receive();
    for (let i = 0; i < 10_000; i++) await publisher.send(Buffer.alloc(1_000));
    await link.is("closed");
    expect(batches).toBe(1);
  });

  it("receives nothing while the receiver is not ready, and everything afterwards", async () => {
    const count = 200;
    const publisher = new XPublisher({ sendHighWaterMark: 0 });
    publisher.verbosity = "allSubs";
    const endpoint = await bound(publisher, freeEndpoint(kind));
    let catchUp = () => {};
    const caughtUp = new Promise<void>((resolve) => (catchUp = resolve));
    using link: Listener = new Listener(driver, {
      type: "sub",
      endpoint,
      backpressure: () => (link.messages.length > 0 ? caughtUp : undefined),
    });
    using other = new Listener(driver, { type: "sub", endpoint });
    await publisher.receive();
    await publisher.receive(); // both have subscribed
    for (let i = 0; i < count; i++) await publisher.send(pattern(300_000, i));
    await link.received(1);
    await other.received(count); // by then, a ready receiver has everything
    expect(link.messages.length).toBeLessThan(count / 2);
    expect(link.link.isReceiving).toBe(true);
    expect(other.link.isReceiving).toBe(false);
    catchUp();
    const received = await link.received(count);
    await eventually("its end", () => !link.link.isReceiving || undefined);
    expect(
      received.every((frames, i) => same(frames, [pattern(300_000, i)])),
    ).toBe(true);
  });

  it("can be closed before it is connected", async () => {
    using link = dealer(await unboundEndpoint(kind));
    link.send("dropped");
    link.link.close();
    expect(link.states).toEqual(["closed"]);
  });

  it("accepts an empty frame as a message, and refuses a message without frames", async () => {
    const router = new Router();
    using link = dealer(await bound(router, freeEndpoint(kind)));
    expect(() => link.send()).toThrow(RangeError);
    link.send("");
    expect((await router.receive())[1]).toEqual(Buffer.of());
  });
});

describe.each(DRIVERS)("$name", (driver) => {
  it("reaches an IPv6 endpoint", async () => {
    const router = new Router({ ipv6: true });
    const endpoint = await bound(router, "tcp://[::1]:*");
    using link = new Listener(driver, { type: "dealer", endpoint });
    link.send("hello");
    expect(String((await router.receive())[1])).toBe("hello");
  });

  it.each([
    "",
    "tcp://",
    "tcp://127.0.0.1",
    "tcp://127.0.0.1:0",
    "tcp://127.0.0.1:65536",
    "tcp://*:5555",
    "tcp://::1:5555",
    "ipc://",
    "inproc://kernel",
    "http://127.0.0.1:80",
  ])("refuses the endpoint %j", (endpoint) => {
    expect(() => connected(driver, { endpoint })).toThrow(RangeError);
  });

  it("refuses an identity that a ROUTER refuses", () => {
    const endpoint = "tcp://127.0.0.1:1";
    for (const bytes of [[], [0, 1], new Array<number>(256).fill(1)]) {
      const identity = Uint8Array.from(bytes);
      expect(() => connected(driver, { endpoint, identity })).toThrow(
        RangeError,
      );
    }
  });

  it("cannot send on a sub", () => {
    using link = new Listener(driver, {
      type: "sub",
      endpoint: "tcp://127.0.0.1:1",
    });
    expect(() => link.send("hello")).toThrow(TypeError);
  });

  it("does not keep the process alive", async () => {
    const child = fork(new URL("closing.ts", import.meta.url), [driver.name], {
      execArgv: ["--import", "tsx"],
      signal: AbortSignal.timeout(20_000),
      killSignal: "SIGKILL",
    });
    expect(await once(child, "exit")).toEqual([0, null]);
  });
});

function connected(
  driver: KernelTransport,
  options: { endpoint: string; identity?: Uint8Array },
): void {
  new Listener(driver, { type: "dealer", ...options }).link.close();
}

async function echo(router: Router, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await router.send(await router.receive());
}

/** Closes it and waits until its address is free, which `close` alone does not. */
async function goneFrom(
  endpoint: string,
  socket: Router | XPublisher,
): Promise<void> {
  const free = new Promise((resolve) => socket.events.on("close", resolve));
  await socket.unbind(endpoint);
  await free;
  socket.close();
}

/** Bytes that differ between positions and between seeds. */
function pattern(size: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(size);
  for (let i = 0; i < size; i++) bytes[i] = (i * 31 + (i >> 8) + seed) & 0xff;
  return bytes;
}

function lengths(frames: readonly Uint8Array[]): number[] {
  return frames.map((frame) => frame.length);
}

function same(a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean {
  return (
    a.length === b.length &&
    a.every((frame, i) => Buffer.compare(frame, b[i] ?? Buffer.of()) === 0)
  );
}
