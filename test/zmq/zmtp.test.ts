/**
 * Tests that only the own ZMTP driver allows: its bytes, chunk boundaries, and
 * peers that do not behave like libzmq.
 */
import { connect, Socket } from "node:net";
import { setImmediate as turn } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { Publisher, Router } from "zeromq";
import { PeerQueue } from "../../src/zmq/peer-queue.ts";
import type { Frames, LinkOptions } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { BadPeer } from "../../src/zmq/zmtp/bad-peer.ts";
import { ZmtpConnection } from "../../src/zmq/zmtp/connection.ts";
import { Decoder, LARGE, SLAB_SIZE } from "../../src/zmq/zmtp/decoder.ts";
import { Encoder } from "../../src/zmq/zmtp/encoder.ts";
import { checkGreeting, checkReady } from "../../src/zmq/zmtp/handshake.ts";
import { eventually } from "../harness.ts";
import { Listener } from "./listener.ts";
import {
  bound,
  byteByByte,
  closeAll,
  GREETING,
  plainPeer,
  plainServer,
  READY_XPUB,
  received,
  unboundEndpoint,
} from "./peers.ts";

afterEach(closeAll);

const READY_ROUTER = Buffer.from(
  "\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06ROUTER\x08Identity\x00\x00\x00\x00",
  "latin1",
);
const READY_DEALER = Buffer.from(
  "\x04\x2b\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x02me",
  "latin1",
);
const READY_SUB = Buffer.from(
  "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB",
  "latin1",
);

describe("a connection", () => {
  it("sends these bytes first as a dealer", async () => {
    const { endpoint, socket } = await acceptor();
    using link = new Listener(zmtp, {
      type: "dealer",
      endpoint,
      identity: Buffer.from("me"),
    });
    link.send("a", "");
    const peer = await socket;
    peer.write(Buffer.concat([GREETING, READY_ROUTER]));
    const expected = Buffer.concat([
      GREETING,
      READY_DEALER,
      Buffer.from("\x01\x01a\x00\x00", "latin1"),
    ]);
    expect(await received(peer, expected.length)).toEqual(expected);
  });

  it("sends these bytes first as a sub, and subscribes with a message", async () => {
    const { endpoint, socket } = await acceptor();
    using link = new Listener(zmtp, { type: "sub", endpoint });
    const peer = await socket;
    peer.write(Buffer.concat([GREETING, READY_XPUB]));
    const expected = Buffer.concat([
      GREETING,
      READY_SUB,
      Buffer.from("\x00\x01\x01", "latin1"),
    ]);
    expect(await received(peer, expected.length)).toEqual(expected);
    await link.is("connected");
  });

  it("works with byte-by-byte delivery, both ways", async () => {
    const router = new Router();
    const endpoint = await byteByByte(await bound(router));
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    const sent = [0, 1, 255, 256, 700].map((size) => Buffer.alloc(size, size));
    link.send(...sent);
    await router.send(await router.receive());
    expect(await link.received(1)).toEqual([sent]);
  });

  it.each([
    ["a frame that is cut", "\x00\x05hel", "lo"],
    ["a head that is cut", "\x02\x00\x00", "\x00\x00\x00\x00\x00\x01x"],
    ["a frame of several", "\x01\x01a", "\x00\x01b"],
    [
      "a large frame that is cut",
      "\x02\x00\x00\x00\x00\x00\x01\x00\x00".padEnd(30_000, "x"),
      "x".repeat(65_536 + 9 - 30_000),
    ],
  ])("says that it receives a message: %s", async (_, part, rest) => {
    const { peer, link } = await introduced();
    expect(link.link.isReceiving).toBe(false);
    peer.write(Buffer.from(part, "latin1"));
    await eventually("the part", () => link.link.isReceiving || undefined);
    peer.write(Buffer.from(rest, "latin1"));
    await link.received(1);
    expect(link.link.isReceiving).toBe(false);
    link.link.close();
  });

  it("yields to other work, with any amount of received data", async () => {
    const { endpoint, socket } = await acceptor();
    const [count, size] = [400, 20_000];
    let [heard, inTurn, most] = [0, 0, 0];
    const allHeard = new Promise<void>((resolve, reject) => {
      const connection = new ZmtpConnection(
        { type: "sub", endpoint },
        {
          ready: () => {},
          drained: () => {},
          ended: reject,
          messages(batch) {
            inTurn += 1;
            most = Math.max(most, inTurn);
            if (inTurn === 1) setImmediate(() => (inTurn = 0));
            busyFor(4);
            heard += batch.length;
            if (heard < count) return;
            connection.destroy();
            resolve();
          },
        },
      );
    });
    const peer = await socket;
    const frame = Buffer.alloc(9 + size);
    frame[0] = 2; // one long frame, the last
    frame.writeBigUInt64BE(BigInt(size), 1);
    const flood = Array.from({ length: count }, () => frame);
    peer.write(Buffer.concat([GREETING, READY_XPUB, ...flood]));
    await allHeard;
    // Two of four milliseconds are within a turn; a third may begin at its end.
    expect(most).toBeLessThanOrEqual(4);
  });

  it("answers a ping, with its context", async () => {
    const { peer, link } = await introduced();
    peer.write(command("PING", "\x00\x0acontext"));
    const pong = command("PONG", "context");
    expect(await received(peer, pong.length)).toEqual(pong);
    link.link.close();
  });

  it("answers the pings that a libzmq peer requires", async () => {
    const router = new Router({ heartbeatInterval: 20, heartbeatTimeout: 200 });
    const { endpoint, pings } = await pingCounter(await bound(router), 30);
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    link.send("hello");
    const [sender = ""] = await router.receive();
    await pings; // for longer than the peer's timeout: without an answer it would have closed the connection
    await router.send([sender, "still there"]);
    await link.received(1);
    expect(link.states).toEqual(["connected"]);
  });

  it("answers few of many pings, and receives the messages between and after them", async () => {
    const { peer, link } = await introduced();
    const pings = Buffer.concat(
      Array.from({ length: 100_000 }, () => command("PING", "\x00\x0a")),
    );
    const message = Buffer.from("\x00\x01a", "latin1");
    peer.write(Buffer.concat([pings, message, pings, message]));
    expect(String(await link.received(2))).toBe("a,a");
    link.link.close();
    let answered = 0;
    for await (const chunk of peer) answered += (chunk as Buffer).length;
    expect(answered).toBeGreaterThanOrEqual(command("PONG", "").length);
    expect(answered).toBeLessThan(100_000);
  });

  it("keeps few bytes for a peer that pings and never reads", async () => {
    const peer = new Unread();
    const connection = new ZmtpConnection(
      { type: "router", accepted: { socket: peer, limit: 1_000_000 } },
      { ready() {}, messages() {}, drained() {}, ended() {} },
    );
    peer.push(Buffer.concat([GREETING, READY_DEALER]));
    const ping = command("PING", "\x00\x0asixteen bytes...");
    for (let n = 0; n < 10_000; n += 1) {
      peer.push(ping);
      if (n % 100 === 0) await turn();
    }
    await turn();
    expect(connection.unsent).toBeGreaterThan(60_000);
    expect(connection.unsent).toBeLessThan(70_000);
    connection.destroy();
  });

  it("ends with the error of a listener that throws", async () => {
    const peer = new Unread();
    const error = await new Promise<Error>((ended) => {
      const messages = () => {
        throw new Error("a bug in the listener");
      };
      new ZmtpConnection(
        { type: "router", accepted: { socket: peer, limit: 1_000_000 } },
        { ready() {}, messages, drained() {}, ended },
      );
      const message = Buffer.from("\x00\x01a", "latin1");
      peer.push(Buffer.concat([GREETING, READY_DEALER, message]));
    });
    expect(error.message).toContain("internal error");
    expect(peer.destroyed).toBe(true);
  });

  it("does not connect to itself if TCP connects a free port to itself", async () => {
    const port = Number((await unboundEndpoint("tcp")).split(":").at(-1));
    const host = "127.0.0.1";
    const socket = connect({ host, port, localPort: port, localAddress: host });
    const error = await new Promise<Error>((ended) => {
      const accepted = { socket, limit: 1_000 };
      new ZmtpConnection(
        { type: "dealer", accepted },
        { ready() {}, messages() {}, drained() {}, ended },
      );
    });
    expect(error).not.toBeInstanceOf(BadPeer); // with it, no new attempt would follow
    expect(error.message).toBe("No process listens on the port yet");
    await bound(new Router(), `tcp://${host}:${port}`); // the port is free for the kernel
  });

  it.each<[string, (peer: Socket) => void, number]>([
    [
      "of a length over the limit, in one frame",
      (peer) => {
        peer.write(longFrame(0, 3_000_000));
        peer.write(Buffer.alloc(3_000_000, 2));
      },
      3_000_000,
    ],
    [
      "of many frames that are over the limit together",
      (peer) => {
        for (let i = 0; i < 20; i += 1) {
          peer.write(longFrame(i < 19 ? 1 : 0, 100_000));
          peer.write(Buffer.alloc(100_000, 2));
        }
      },
      900_000,
    ],
    [
      "of more frames than the limit",
      (peer) => {
        peer.write(Buffer.from("\x01\x00".repeat(70_000), "latin1"));
        peer.write(Buffer.from("\x00\x00", "latin1"));
      },
      0,
    ],
  ])(
    "skips a message %s, reports it, and continues",
    async (_, write, size) => {
      const tooLarge: number[] = [];
      const { peer, link } = await introduced({
        limit: size === 0 ? 100_000_000 : 1_000_000,
        onTooLarge: (known) => tooLarge.push(known),
      });
      peer.write(Buffer.from("\x00\x01a", "latin1"));
      write(peer);
      peer.write(Buffer.from("\x00\x01b", "latin1"));
      expect(String(await link.received(2))).toBe("a,b");
      expect(tooLarge).toHaveLength(1);
      expect(tooLarge[0]).toBeGreaterThanOrEqual(size);
      link.link.close();
    },
  );

  it("receives a message whose frames have a ping between them", async () => {
    const { peer, link } = await introduced();
    peer.write(
      Buffer.concat([
        Buffer.from("\x01\x01a", "latin1"),
        command("PING", "\x00\x0a"),
        Buffer.from("\x00\x01b", "latin1"),
      ]),
    );
    expect(String(await link.received(1))).toBe("a,b");
    link.link.close();
  });

  it("is lost, and made again, if the peer half-closes it", async () => {
    const endpoint = await plainPeer((socket, nth) => {
      socket.write(Buffer.concat([GREETING, READY_ROUTER]));
      if (nth === 1) socket.end();
    });
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    await link.is("connected", 2);
    expect(link.states).toEqual(["connected", "connecting", "connected"]);
  });

  it("is made again if the peer leaves during its greeting", async () => {
    const endpoint = await plainPeer((socket, nth) => {
      if (nth < 3) socket.end(GREETING.subarray(0, 20));
      else socket.write(Buffer.concat([GREETING, READY_ROUTER]));
    });
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    await link.is("connected");
    expect(link.states).toEqual(["connected"]);
  });

  it("drops the unfinished message of a lost connection", async () => {
    const endpoint = await plainPeer((socket, nth) => {
      socket.write(Buffer.concat([GREETING, READY_ROUTER]));
      if (nth === 1) socket.end(Buffer.from("\x01\x01a\x01\x05b", "latin1"));
      else socket.write(Buffer.from("\x00\x01c", "latin1"));
    });
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    expect(String(await link.received(1))).toBe("c");
  });

  it("leaves unwritten messages to the next one, in order and once", async () => {
    const count = 3_000;
    const endpoint = await unboundEndpoint("tcp");
    const { socket, close } = await acceptor(endpoint);
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    const peer = await socket;
    peer.write(Buffer.concat([GREETING, READY_ROUTER])); // and never reads
    await link.is("connected");
    for (let i = 0; i < count; i++) {
      link.send(`${i}`, Buffer.alloc(10_000));
    }
    await close();
    await link.is("connecting");
    const kept = link.link.waiting;
    expect(kept).toBeGreaterThan(10_000);
    const router = new Router({ receiveHighWaterMark: 0 });
    await bound(router, endpoint);
    const first = Number((await router.receive())[1]);
    expect(kept).toBeGreaterThan((count - first) * 10_000);
    for (let i = first + 1; i < count; i++) {
      expect(Number((await router.receive())[1])).toBe(i);
    }
  });
});

describe("a peer that does not follow the protocol closes the link with a reason", () => {
  const afterIntroduction = (bytes: Buffer): Buffer =>
    Buffer.concat([GREETING, READY_ROUTER, bytes]);
  const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");
  const garbage: [string, BadPeer["why"], Buffer][] = [
    ["ZMTP 1", "revision", latin1("\x01\x00")],
    ["ZMTP 1 with an identity", "revision", latin1("\x05\x00name")],
    ["ZMTP 2", "revision", latin1("\xff\0\0\0\0\0\0\0\x01\x7f\x01\x06")],
    ["CURVE", "mechanism", mechanism("CURVE")],
    ["PLAIN", "mechanism", mechanism("PLAIN")],
    ["no mechanism", "protocol", mechanism("\x01\x02")],
    ["HTTP", "protocol", latin1("HTTP/1.1 400 Bad Request\r\n\r\n")],
    ["zeros", "protocol", Buffer.alloc(64)],
    ["a greeting, then noise", "protocol", withNoise(GREETING)],
    [
      "a message before READY",
      "protocol",
      Buffer.concat([GREETING, latin1("\x00\x01a")]),
    ],
    [
      "another command than READY",
      "protocol",
      Buffer.concat([GREETING, command("HELLO", "")]),
    ],
    [
      "a READY that ends too early",
      "protocol",
      Buffer.concat([
        GREETING,
        command("READY", "\x0bSocket-Type\0\0\0\x09RO"),
      ]),
    ],
    [
      "a READY without a socket type",
      "socket_type",
      Buffer.concat([GREETING, command("READY", "")]),
    ],
    [
      "ERROR",
      "refused",
      Buffer.concat([GREETING, command("ERROR", "\x07go away")]),
    ],
    [
      "reserved flags",
      "protocol",
      afterIntroduction(latin1("\x08\x01a\x00\x01b")),
    ],
    [
      "a command with more",
      "protocol",
      afterIntroduction(latin1("\x05\x05\x04PING")),
    ],
    [
      "a command without a name",
      "protocol",
      afterIntroduction(latin1("\x04\x00")),
    ],
    [
      "a command of 2 GB",
      "protocol",
      afterIntroduction(latin1("\x06\0\0\0\0\x80\0\0\0")),
    ],
    [
      "a frame of 2^63 bytes",
      "protocol",
      afterIntroduction(latin1("\x02\xff\xff\xff\xff\xff\xff\xff\xff")),
    ],
  ];

  it.each(garbage)("%s: %s", async (_, why, bytes) => {
    const endpoint = await plainPeer((socket) => void socket.write(bytes));
    using link = new Listener(zmtp, { type: "dealer", endpoint });
    const error = await link.is("closed");
    expect(error).toBeInstanceOf(BadPeer);
    expect(error).toMatchObject({ why });
    expect(error?.message).toContain(endpoint);
  });

  it("a socket of another type", async () => {
    const publisher = new Publisher();
    using link = new Listener(zmtp, {
      type: "dealer",
      endpoint: await bound(publisher),
    });
    expect(await link.is("closed")).toMatchObject({ why: "socket_type" });
  });

  it("after it has delivered the messages before the damage", async () => {
    const { peer, link } = await introduced();
    peer.write(Buffer.from("\x00\x01a\x08\x01b", "latin1"));
    expect(await link.is("closed")).toMatchObject({ why: "protocol" });
    expect(String(link.messages)).toBe("a");
  });
});

describe("frames", () => {
  const sizes = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 0, max: 300 }) },
    fc
      .tuple(
        fc.constantFrom(255, 65_535, LARGE, SLAB_SIZE - LARGE, SLAB_SIZE),
        fc.integer({ min: -10, max: 10 }),
      )
      .map(([size, more]) => size + more),
  );
  const messages = fc.array(fc.array(sizes, { minLength: 1, maxLength: 9 }), {
    minLength: 1,
    maxLength: 30,
  });
  /** Sizes of the reads, used in a cycle. */
  const cuts = fc.array(
    fc.oneof(
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 2 * SLAB_SIZE }),
    ),
    { minLength: 1, maxLength: 20 },
  );

  it("are decoded to the same messages, with any chunk boundaries", () => {
    fc.assert(
      fc.property(messages, cuts, (shape, reads) => {
        let seed = 0;
        const sent = shape.map((frames) =>
          frames.map((size) => Buffer.alloc(size, (seed += 1))),
        );
        expect(
          Buffer.compare(...joined(decoded(encoded(sent), reads), sent)),
        ).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it("that are many and small make one message, with any chunk boundaries", () => {
    const frames = Array.from({ length: 20_000 }, (_, i) =>
      Buffer.alloc(i % 40, i),
    );
    const bytes = encoded([frames, frames]);
    for (const reads of [[1], [7, 1, 100_000], [SLAB_SIZE], [65_536, 3]]) {
      const heard = decoded(bytes, reads);
      expect(heard.map(({ length }) => length)).toEqual([20_000, 20_000]);
      expect(Buffer.compare(...joined(heard, [frames, frames]))).toBe(0);
    }
  });

  it("of random bytes end in BadPeer or wait for more", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 400 }), { maxLength: 20 }),
        (chunks) => {
          const decoder = new Decoder(100_000);
          onlyBadPeer(() => {
            for (const chunk of chunks) {
              fill(decoder, chunk, () => {
                while (decoder.read([]) !== undefined);
              });
            }
          });
        },
      ),
      { numRuns: 500 },
    );
  });

  it("of a message have a common limit, also empty ones", () => {
    const decoder = new Decoder(100_000);
    const read = (): void => {
      for (;;)
        fill(decoder, Buffer.from("\x01\x00", "latin1"), () =>
          decoder.read([]),
        );
    };
    expect(read).toThrow(BadPeer);
  });

  it("always leave a region for the next read", () => {
    fc.assert(
      fc.property(messages, cuts, (shape, reads) => {
        const bytes = encoded(
          shape.map((frames) => frames.map((size) => Buffer.alloc(size))),
        );
        const decoder = new Decoder();
        let at = 0;
        for (let i = 0; at < bytes.length; i++) {
          const region = decoder.region();
          if (region.length === 0) throw new Error(`no region at ${at}`);
          const size = Math.min(
            region.length,
            reads[i % reads.length] ?? 1,
            bytes.length - at,
          );
          region.set(bytes.subarray(at, at + size));
          decoder.filled(size);
          decoder.read([]);
          at += size;
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe("the handshake", () => {
  it("accepts any bytes as a greeting or refuses them with BadPeer", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        onlyBadPeer(() => checkGreeting(bytes));
      }),
    );
  });

  it("accepts any bytes as READY or refuses them with BadPeer", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        onlyBadPeer(() => checkReady(bytes, "dealer"));
      }),
    );
  });

  it("reads property names in any case", () => {
    const body = Buffer.from("\x0bsocket-TYPE\0\0\0\x04XPUB", "latin1");
    expect(() => checkReady(body, "sub")).not.toThrow();
  });
});

function command(name: string, body: string): Buffer {
  const rest = Buffer.from(
    `${String.fromCharCode(name.length)}${name}${body}`,
    "latin1",
  );
  return Buffer.concat([Uint8Array.of(4, rest.length), rest]);
}

/** The header of a frame of this size. */
function longFrame(flags: number, size: number): Buffer {
  const header = Buffer.alloc(9);
  header[0] = flags | 2;
  header.writeBigUInt64BE(BigInt(size), 1);
  return header;
}

function mechanism(name: string): Buffer {
  const bytes = Buffer.from(GREETING);
  bytes.fill(0, 12, 32);
  bytes.write(name, 12, "latin1");
  return bytes;
}

function withNoise(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc(1_000, 0xa5)]);
}

function busyFor(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

/** A plain server that returns its first connection. */
async function acceptor(at?: string): Promise<{
  endpoint: string;
  socket: Promise<Socket>;
  close: () => Promise<void>;
}> {
  let accept: (socket: Socket) => void = () => {};
  const socket = new Promise<Socket>((resolve) => (accept = resolve));
  const { endpoint, close } = await plainServer((one) => accept(one), at);
  return { endpoint, socket, close };
}

/** Passes everything on; `pings` resolves when this many have arrived from the peer. */
async function pingCounter(
  endpoint: string,
  count: number,
): Promise<{ endpoint: string; pings: Promise<void> }> {
  let done = (): void => {};
  const pings = new Promise<void>((resolve) => (done = resolve));
  let seen = 0;
  const ours = await plainPeer((near) => {
    const far = connect(Number(endpoint.split(":").at(-1)), "127.0.0.1");
    far.on("error", () => {});
    far.on("data", (bytes: Buffer) => {
      seen += bytes.toString("latin1").split("\x04PING").length - 1;
      if (seen >= count) done();
    });
    near.pipe(far).pipe(near);
    near.on("close", () => far.destroy());
  });
  return { endpoint: ours, pings };
}

/** A connection whose peer reads nothing: no write completes. */
class Unread extends Socket {
  override _read(): void {}
  override _write(): void {}
  override _writev(): void {}
}

/** A dealer and a plain socket after their handshake, with everything read. */
async function introduced(
  options: Pick<LinkOptions, "limit" | "onTooLarge"> = {},
): Promise<{ peer: Socket; link: Listener }> {
  const { endpoint, socket } = await acceptor();
  const link = new Listener(zmtp, {
    type: "dealer",
    endpoint,
    identity: Buffer.from("me"),
    ...options,
  });
  const peer = await socket;
  peer.write(Buffer.concat([GREETING, READY_ROUTER]));
  await received(peer, GREETING.length + READY_DEALER.length);
  return { peer, link };
}

function encoded(messages: readonly Frames[]): Buffer {
  const line = new PeerQueue();
  for (const frames of messages) line.push(frames);
  const encoder = new Encoder();
  const written: Uint8Array[] = [];
  while (line.length > 0) {
    // As in a connection: sometimes the memory is reused, sometimes it is kept.
    const pieces = Buffer.concat(encoder.encode(line));
    written.push(pieces);
    if (line.length % 2 === 0) encoder.reuse();
    else encoder.keep();
  }
  return Buffer.concat(written);
}

/** The messages that a decoder makes of the bytes, read in pieces of such sizes; copied, as a listener would. */
function decoded(bytes: Buffer, reads: readonly number[]): Buffer[][] {
  const decoder = new Decoder();
  const messages: Buffer[][] = [];
  let at = 0;
  for (let i = 0; at < bytes.length; i++) {
    const size = reads[i % reads.length] ?? 1;
    fill(decoder, bytes.subarray(at, at + size), () => {
      const batch: Frames[] = [];
      if (decoder.read(batch) !== undefined) throw new Error("a command?");
      for (const frames of batch) {
        messages.push(frames.map((frame) => Buffer.from(frame)));
      }
    });
    at += size;
  }
  return messages;
}

/** Reads the bytes into the decoder, in as many regions as needed. */
function fill(
  decoder: Decoder,
  bytes: Uint8Array,
  filled: () => unknown,
): void {
  for (let at = 0; at < bytes.length;) {
    const region = decoder.region();
    const part = bytes.subarray(at, at + region.length);
    region.set(part);
    decoder.filled(part.length);
    filled();
    at += part.length;
  }
}

/** Two lists of messages as bytes that are equal only if the messages are equal. */
function joined(a: readonly Frames[], b: readonly Frames[]): [Buffer, Buffer] {
  return [encoded(a), encoded(b)];
}

function onlyBadPeer(run: () => void): void {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(BadPeer);
  }
}
