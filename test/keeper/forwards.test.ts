/** Connections that are forwarded over a keeper's stream: windows, turns, cuts and faults, with places in memory. */
import { once } from "node:events";
import { Duplex, PassThrough } from "node:stream";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  CONNECTIONS_LIMIT,
  Forwards,
  WINDOW,
} from "../../src/keeper/forwards.ts";
import { FrameStream } from "../../src/keeper/frame-stream.ts";
import {
  FRAME_LIMIT,
  type Frame,
  frameKinds,
  frameOf,
  FrameReader,
  MAGIC,
  StreamError,
  writeU64,
} from "../../src/keeper/frames.ts";
import { eventually } from "../harness.ts";
import { compose } from "../../src/jupyter/message.ts";
import { bytesOf, digestOf } from "../kernels/ports.ts";
import { runId, SECRET, TestKeeper, type TestKeptServer } from "./keepers.ts";
import { duplexPair, placePair } from "./streams.ts";

const MIB = 1024 * 1024;

/** All that can be read. Half of the stream stays open. */
function buffer(stream: Duplex): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.once("end", () => resolve(Buffer.concat(chunks)));
    stream.once("error", reject);
  });
}

async function text(stream: Duplex): Promise<string> {
  return (await buffer(stream)).toString();
}

/** A server with a kernel whose ports are ends of pairs in memory. */
async function withPlace(
  options?: ConstructorParameters<typeof TestKeeper>[0],
) {
  const keeper = new TestKeeper(options);
  const server = await keeper.server();
  const run = await server.start();
  const ends: Duplex[] = [];
  keeper.kernels.kernel.place = () => {
    const [mine, its] = placePair();
    ends.push(mine);
    return Promise.resolve(its);
  };
  const open = async (): Promise<[Duplex, Duplex]> => {
    const connection = await run.kernel.forward(80);
    return [connection, ends.at(-1) as Duplex];
  };
  return { keeper, server, run, open };
}

describe("a forwarded connection", () => {
  test("carries bytes both ways, and each half closes by itself", async () => {
    const { open } = await withPlace();
    const [connection, place] = await open();
    place.write("hello");
    expect(String((await once(connection, "data"))[0])).toBe("hello");
    connection.end("question");
    expect(await text(place)).toBe("question");
    expect(connection.writableFinished).toBe(true);
    place.end("answer");
    expect(await text(connection)).toBe("answer");
    await eventually("its close", () => connection.closed || undefined);
    expect(connection.errored).toBeNull();
  });

  test("carries much both ways at the same time", async () => {
    const { open } = await withPlace();
    const [connection, place] = await open();
    const N = 8 * MIB + 4;
    bytesOf(N, 100_000).pipe(connection);
    bytesOf(N, 996).pipe(place);
    const read = (end: Duplex) =>
      digestOf(end.iterator({ destroyOnReturn: false }));
    const expected = await digestOf(bytesOf(N));
    expect(await Promise.all([read(connection), read(place)])).toEqual([
      expected,
      expected,
    ]);
  });

  test.each(["server", "keeper"] as const)(
    "that is not read at the %s's end holds a bounded number of bytes, and stalls no other",
    async (end) => {
      const { open, keeper, run } = await withPlace();
      const [from, to] = inOrder(end, await open());
      const [otherFrom, otherTo] = inOrder(end, await open());
      let written = 0;
      const chunk = Buffer.alloc(10_000, 1);
      while (written < 16 * MIB) {
        written += chunk.length;
        if (from.write(chunk)) continue;
        const drained = once(from, "drain").then(() => true);
        const stalled = new Promise((resolve) => setTimeout(resolve, 200));
        if ((await Promise.race([drained, stalled])) !== true) break;
      }
      expect(written).toBeGreaterThan(WINDOW);
      expect(written).toBeLessThan(WINDOW + MIB);
      // The other connection, the events and the commands pass.
      bytesOf(4 * MIB).pipe(otherFrom);
      expect(await digestOf(otherTo)).toBe(await digestOf(bytesOf(4 * MIB)));
      keeper.kernels.kernel.print("there", parent);
      await eventually("the event", () =>
        JSON.stringify(run.calls).includes("there") ? true : undefined,
      );
      await run.kernel.interrupt();
      // And it goes on when it is read.
      from.end();
      expect((await buffer(to)).length).toBe(written);
    },
    30_000,
  );

  test("that breaks at one end breaks at the other", async () => {
    const { open } = await withPlace();
    const [first, firstPlace] = await open();
    first.destroy();
    await once(firstPlace, "close");
    const [second, secondPlace] = await open();
    const broken = once(second, "error");
    secondPlace.destroy();
    await expect(broken).resolves.toMatchObject([{ code: "ECONNRESET" }]);
  });

  test("ends with the stream, at both ends; another one can be opened over the next stream", async () => {
    const { open, keeper, server } = await withPlace();
    const [connection, place] = await open();
    const broken = once(connection, "error");
    const closed = once(place, "close");
    keeper.cut();
    const [error] = (await broken) as [Error];
    await closed;
    expect(error).toMatchObject({
      code: "ECONNRESET",
      message: "the stream to its keeper was lost",
    });
    await eventually("the next stream", () =>
      server.link.isAttached ? true : undefined,
    );
    const [again, place2] = await open();
    again.end("again");
    expect(await text(place2)).toBe("again");
  });

  test("that was complete when the stream was lost can still be read", async () => {
    const { open, keeper, run, server } = await withPlace();
    const [connection, place] = await open();
    connection.end();
    place.resume().end("all of it");
    await once(place, "close");
    await run.kernel.interrupt(); // its answer follows the end
    keeper.cut();
    await eventually("the loss", () => !server.link.isAttached || undefined);
    expect(await text(connection)).toBe("all of it");
  });

  test("is refused with the reason of the place, and with the stream's if that is missing", async () => {
    const keeper = new TestKeeper();
    const server = await keeper.server();
    const { kernel } = await server.start();
    await expect(kernel.forward(80)).rejects.toMatchObject({
      reason: "port_unreachable",
      message: expect.stringContaining("no program listens on it") as string,
    });
    let opening: Duplex | undefined;
    keeper.kernels.kernel.place = () => {
      [opening] = placePair();
      return new Promise(() => {});
    };
    const pending = kernel.forward(80);
    await eventually("the opening", () => opening);
    keeper.isUnreachable = true;
    keeper.cut();
    await expect(pending).rejects.toMatchObject({
      reason: "port_unreachable",
      message:
        "Port 80 of the kernel of session s cannot be reached: the stream to its keeper was lost",
    });
    await expect(kernel.forward(80)).rejects.toThrow(
      "the stream to its keeper is lost",
    );
  });

  test(`of more than ${CONNECTIONS_LIMIT} is refused, until one has closed`, async () => {
    const { open, run } = await withPlace();
    const pairs: [Duplex, Duplex][] = [];
    for (let n = 0; n < CONNECTIONS_LIMIT; n += 1) pairs.push(await open());
    await expect(run.kernel.forward(80)).rejects.toMatchObject({
      reason: "port_unreachable",
      message: expect.stringContaining("128 connections are open") as string,
    });
    const [connection, place] = pairs[7] as [Duplex, Duplex];
    connection.destroy();
    await once(place, "close");
    const [again, place2] = await open();
    again.end("x");
    expect(await text(place2)).toBe("x");
  });

  test("lets an event pass soon while bulk data waits for a slow stream", async () => {
    const { run, keeper, open } = await withPlace();
    const places: Duplex[] = [];
    for (let n = 0; n < 50; n += 1) {
      const [connection, place] = await open();
      connection.resume();
      places.push(place);
    }
    const [stream] = keeper.streams;
    // The server does not read its stream; the keeper sends until so much waits.
    stream?.pause();
    for (const place of places) bytesOf(MIB).pipe(place);
    const before = await settled(() => stream?.readableLength ?? 0);
    keeper.kernels.kernel.print("soon", parent);
    const calls = run.calls.length;
    let passed = 0;
    let passedBefore: number | undefined;
    stream?.on("data", (chunk: Buffer) => {
      passed += chunk.length;
      if (run.calls.length > calls) passedBefore ??= passed;
    });
    stream?.resume();
    expect(await eventually("the event", () => passedBefore)).toBeLessThan(MIB);
    expect(before).toBeLessThan(MIB);
    expect(JSON.stringify(run.calls.at(calls))).toContain("soon");
  });
});

const parent = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: { code: "1" },
  session: "s",
  username: "u",
});

/** The end that sends, and the one that shall not read. */
function inOrder(
  end: "server" | "keeper",
  [connection, place]: [Duplex, Duplex],
): [Duplex, Duplex] {
  return end === "server" ? [place, connection] : [connection, place];
}

/** The value once it has not changed for a while. */
async function settled(value: () => number): Promise<number> {
  for (let last = -1; ;) {
    const now = value();
    if (now === last) return now;
    last = now;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** The frame of a connection. */
function of(kind: number, id: number, ...body: Buffer[]): Buffer[] {
  const number = Buffer.alloc(8);
  writeU64(number, 0, id);
  return frameOf(kind, number, ...body);
}

function opening(id: number, port = 80): Buffer[] {
  const where = Buffer.alloc(18);
  where.write(runId(1), 0, "hex");
  where.writeUInt16LE(port, 16);
  return of(frameKinds.open, id, where);
}

function u32(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}

/** A keeper with a kernel, and the bytes of a server that has attached. */
async function attachedRaw(protocol?: number) {
  const keeper = new TestKeeper();
  const server = await keeper.server(1);
  await server.start();
  server.die(keeper.streams);
  const places: Duplex[] = [];
  keeper.kernels.kernel.place = () => {
    const [mine, its] = placePair();
    places.push(mine);
    return Promise.resolve(its);
  };
  const raw = keeper.raw().hello({
    secret: SECRET,
    epoch: 2,
    ...(protocol !== undefined && { protocol }),
  });
  await eventually("the hello", () => raw.frames[0]);
  return { keeper, raw, places };
}

describe("a server that breaks the rules of connections loses its stream", () => {
  const data = (id: number, size: number) =>
    of(frameKinds.data, id, Buffer.alloc(size));
  test.each<[string, Buffer[][]]>([
    ["the number of an earlier connection", [opening(3), opening(2)]],
    ["the number of a connection that is open", [opening(1), opening(1)]],
    ["the number 0", [opening(0)]],
    ["a connection that was not opened", [data(1, 1)]],
    ["more data than the window", [opening(1), ...overflow()]],
    ["empty data", [opening(1), data(1, 0)]],
    ["data after the end", [opening(1), of(frameKinds.end, 1), data(1, 1)]],
    [
      "a second end",
      [opening(1), of(frameKinds.end, 1), of(frameKinds.end, 1)],
    ],
    ["credit for nothing", [opening(1), of(frameKinds.credit, 1, u32(1))]],
    ["a credit without its number", [opening(1), of(frameKinds.credit, 1)]],
    ["an opening without a port", [of(frameKinds.open, 1, Buffer.alloc(17))]],
    ["a frame without a connection", [frameOf(frameKinds.data)]],
  ])("with %s", async (_, frames) => {
    const { raw, places } = await attachedRaw();
    raw.write(frames.flat());
    await eventually("the end", () => (raw.isClosed ? true : undefined));
    for (const place of places) {
      await eventually("the place's end", () => place.destroyed || undefined);
    }
  });

  function overflow(): Buffer[][] {
    return Array.from({ length: 9 }, () =>
      of(frameKinds.data, 1, Buffer.alloc(32 * 1024)),
    );
  }

  test("but frames that were on the way when a connection closed do no harm", async () => {
    const { raw, places } = await attachedRaw();
    raw.write(opening(1));
    const place = await eventually("the place", () => places[0]);
    place.destroy();
    await eventually("the reset", () =>
      raw.frames.find(({ kind }) => kind === frameKinds.reset),
    );
    raw.write(data(1, 5)).write(of(frameKinds.credit, 1, u32(9)));
    raw.write(of(frameKinds.end, 1)).write(of(frameKinds.reset, 1));
    raw.write(opening(2));
    await eventually("the next", () => places[1]);
    expect(raw.isClosed).toBe(false);
  });
});

describe("for every cut, byte by byte", () => {
  const said = [
    opening(1),
    opening(2, 81),
    of(frameKinds.data, 1, Buffer.from("one ")),
    of(frameKinds.data, 2, Buffer.from("two")),
    of(frameKinds.data, 1, Buffer.from("more")),
    of(frameKinds.credit, 1, u32(0)),
    of(frameKinds.end, 1),
    of(frameKinds.reset, 2, Buffer.from("why")),
  ].flat();
  const bytes = Buffer.concat([MAGIC, ...said]);

  /** A keeper's end, which connects to places that answer what they get. */
  function keeperEnd() {
    const [mine, its] = duplexPair();
    const frames: Frame[] = [];
    const reader = new FrameReader(FRAME_LIMIT);
    mine.on("error", () => {});
    mine.on("data", (chunk: Buffer) => {
      for (const frame of reader.read(chunk)) {
        frames.push({ ...frame, body: Buffer.from(frame.body) });
      }
    });
    const places: { got: string; end: string; stream: Duplex }[] = [];
    let why: string | undefined;
    const stream = new FrameStream(its, {
      onFrame: (frame) => {
        if (!forwards.received(frame)) throw new StreamError("unknown");
      },
      onClose: (reason) => {
        why = reason;
        forwards.close(new Error(reason));
      },
    });
    const forwards: Forwards = new Forwards({
      stream,
      wake: () => void forwards.turn(),
      connect: () => {
        const [place, other] = placePair();
        const seen = { got: "", end: "", stream: place };
        place.on("data", (chunk: Buffer) => {
          seen.got += chunk.toString();
          place.write(chunk);
        });
        place.on("end", () => {
          seen.end = "end";
          place.end();
        });
        place.on("error", () => {});
        place.on("close", () => (seen.end ||= "close"));
        places.push(seen);
        return Promise.resolve(other);
      },
    });
    onTestFinished(() => stream.close("the test has ended"));
    return { mine, frames, places, why: () => why };
  }

  test("the keeper does the same", async () => {
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const { mine, frames, places, why } = keeperEnd();
      mine.write(bytes.subarray(0, cut));
      if (cut % 2 === 0) await new Promise(setImmediate);
      mine.write(bytes.subarray(cut));
      await eventually("all of it", () =>
        frames.some(({ kind }) => kind === frameKinds.end) &&
        places[1]?.end === "close"
          ? true
          : undefined,
      );
      expect(places.map(({ got, end }) => [got, end])).toEqual([
        ["one more", "end"],
        [expect.stringMatching(/^(two)?$/), "close"],
      ]);
      const kinds = frames
        .filter(({ body }) => body[0] === 1)
        .map(({ kind }) => kind);
      expect([kinds[0], kinds.at(-1)]).toEqual([
        frameKinds.opened,
        frameKinds.end,
      ]);
      const echoed = frames
        .filter(({ kind, body }) => kind === frameKinds.data && body[0] === 1)
        .map(({ body }) => body.toString("latin1", 8));
      expect(echoed.join("")).toBe("one more");
      expect(why()).toBeUndefined();
    }
  });

  test("a stream that ends there leaves no place open", async () => {
    for (let cut = 0; cut < bytes.length; cut += 1) {
      const { mine, places, why } = keeperEnd();
      mine.write(bytes.subarray(0, cut));
      await new Promise(setImmediate);
      mine.destroy();
      await eventually("the end", why);
      for (const { stream } of places) {
        await eventually(
          "the place's end",
          () => stream.destroyed || undefined,
        );
      }
    }
  });

  test("the server does the same with what a keeper says", async () => {
    const frames = [
      of(frameKinds.opened, 1),
      of(
        frameKinds.refused,
        2,
        Buffer.from(
          JSON.stringify({ reason: "port_unreachable", message: "closed" }),
        ),
      ),
      of(frameKinds.data, 1, Buffer.from("one ")),
      of(frameKinds.credit, 1, u32(0)),
      of(frameKinds.data, 1, Buffer.from("more")),
      of(frameKinds.end, 1),
      of(frameKinds.opened, 3),
      of(frameKinds.reset, 3, Buffer.from("ECONNRESET")),
    ].flat();
    const said = Buffer.concat([MAGIC, ...frames]);
    for (let cut = 0; cut <= said.length; cut += 1) {
      const readable = new PassThrough();
      const writable = new PassThrough();
      writable.resume();
      const stream = new FrameStream(Duplex.from({ readable, writable }), {
        onFrame: (frame) => void forwards.received(frame),
        onClose: (why) => forwards.close(new Error(why)),
      });
      const forwards: Forwards = new Forwards({
        stream,
        wake: () => void forwards.turn(),
      });
      const opened = [1, 2, 3].map((n) => forwards.open(runId(1), n));
      const outcome = Promise.all([
        opened[0]?.then((one) => text(one)),
        opened[1]?.catch((error: unknown) => (error as Error).message),
        opened[2]?.then(
          (one) =>
            new Promise((resolve) => {
              const broken = () => resolve(one.errored?.message);
              if (one.errored !== null) broken();
              else one.once("error", broken);
            }),
        ),
      ]);
      readable.write(said.subarray(0, cut));
      if (cut % 2 === 0) await new Promise(setImmediate);
      readable.write(said.subarray(cut));
      expect(await outcome).toEqual([
        "one more",
        "closed",
        "the connection was reset: ECONNRESET",
      ]);
      stream.close("the test has ended");
    }
  });
});

describe("versions of the protocol", () => {
  test("a keeper of version 1 is said to be too old, and everything else works", async () => {
    const keeper = new TestKeeper();
    const server: TestKeptServer = await keeper.server(1, {
      connect: () => olderKeeper(keeper.connect()),
    });
    const { kernel } = await server.start();
    await expect(kernel.forward(80)).rejects.toMatchObject({
      reason: "port_unreachable",
      message: expect.stringMatching(
        /its keeper \(version 0\.0\.9\) is older than this server and cannot forward ports; when all its kernels have ended, the next start of the server brings a newer keeper$/,
      ) as string,
    });
    await expect(kernel.resize({ run_time_s: 5 })).rejects.toMatchObject({
      reason: "bad_configuration",
      message: expect.stringMatching(
        /^The limits of the kernel of session s cannot be changed: its keeper \(version 0\.0\.9\) is older than this server and cannot change the limits/,
      ) as string,
    });
    expect(keeper.kernels.kernel.limits).toEqual([]);
    await kernel.interrupt();
    expect(keeper.kernels.kernel.interrupts).toBe(1);
    expect(server.link.isAttached).toBe(true);
  });

  test("a server of version 1 gets no frame of version 2, and may send none", async () => {
    const { raw } = await attachedRaw(1);
    raw.write(opening(1));
    await eventually("the end", () => (raw.isClosed ? true : undefined));
    expect(raw.frames.map(({ kind }) => kind)).toEqual([frameKinds.hello]);
  });
});

/** The stream of a keeper that says that it is of version 1. */
function olderKeeper(stream: Duplex): Duplex {
  const readable = new PassThrough();
  const reader = new FrameReader(FRAME_LIMIT);
  readable.write(MAGIC);
  stream.on("data", (chunk: Buffer) => {
    for (const { kind, body } of reader.read(chunk)) {
      let sent = Buffer.from(body);
      if (kind === frameKinds.hello) {
        const hello = JSON.parse(body.toString()) as object;
        const older = { ...hello, protocol: 1, version: "0.0.9" };
        sent = Buffer.from(JSON.stringify(older));
      }
      for (const piece of frameOf(kind, sent)) readable.write(piece);
    }
  });
  stream.on("close", () => readable.destroy());
  return Duplex.from({ readable, writable: stream });
}
