/**
 * Each version of the protocol, as bytes of both directions of a small conversation.
 * Later programs must understand them: a keeper of that version, and a server of
 * that version.
 *
 * Each file was written by this test when the version was new, with
 * KALLICHORE_RECORD_FIXTURE=<version>. It is not written again: what it holds was
 * said by programs that still run.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { PassThrough, Duplex } from "node:stream";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { describe, expect, onTestFinished, test } from "vitest";
import { compose } from "../../src/jupyter/message.ts";
import { piecesOf } from "../../src/keeper/events.ts";
import {
  FRAME_LIMIT,
  frameKinds,
  frameOf,
  FrameReader,
  jsonFrame,
  MAGIC,
  writeU64,
} from "../../src/keeper/frames.ts";
import { KeeperLink } from "../../src/keeper/link.ts";
import { silentLog } from "../../src/log/log.ts";
import { eventually } from "../harness.ts";
import { placePair } from "./streams.ts";
import {
  RECIPE,
  runId,
  SECRET,
  TestKeeper,
  TestKeptServer,
} from "./keepers.ts";

interface Fixture {
  /** Base64. */
  readonly server: string;
  readonly keeper: string;
}

const VERSIONS = [1, 2] as const;
const recorded = process.env["KALLICHORE_RECORD_FIXTURE"];

function pathOf(version: number): string {
  const file = `fixtures/protocol-${version}.json`;
  return fileURLToPath(new URL(file, import.meta.url));
}

const request = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: { code: "21 * 2" },
  session: "the-client",
  username: "tester",
  msg_id: "the-request",
  date: "2026-11-29T12:00:00.000Z",
});

function numbered(kind: number, number?: number): Buffer[] {
  const bytes = Buffer.alloc(number === undefined ? 16 : 24);
  bytes.write(runId(1), 0, "hex");
  if (number !== undefined) writeU64(bytes, 16, number);
  return frameOf(kind, bytes);
}

function forwarded(kind: number, id: number, ...body: Buffer[]): Buffer[] {
  const bytes = Buffer.alloc(8);
  writeU64(bytes, 0, id);
  return frameOf(kind, bytes, ...body);
}

/** The run, and a port. */
function where(port: number): Buffer {
  const bytes = Buffer.alloc(18);
  bytes.write(runId(1), 0, "hex");
  bytes.writeUInt16LE(port, 16);
  return bytes;
}

/** What version 2 has added. */
const additions: readonly (readonly Buffer[])[] = [
  forwarded(frameKinds.open, 1, where(80)),
  forwarded(frameKinds.data, 1, Buffer.from("hello")),
  forwarded(frameKinds.end, 1),
  forwarded(frameKinds.open, 2, where(81)),
  forwarded(frameKinds.open, 3, where(80)),
  forwarded(frameKinds.reset, 3, Buffer.from("no more")),
  jsonFrame(frameKinds.command, {
    id: "recorded-5",
    verb: "resize",
    run_id: runId(1),
    limits: { run_time_s: 60, memory_bytes: null },
  }),
];

/** What the server says, one step after the other. */
const stepsOf = (version: number): readonly (readonly Buffer[])[] => [
  jsonFrame(frameKinds.hello, {
    protocol: version,
    lowest: 1,
    version: "0.1.0",
    secret: SECRET,
    epoch: 1,
    server: "recorded",
  }),
  jsonFrame(frameKinds.command, {
    id: "recorded-1",
    verb: "launch",
    run_id: runId(1),
    recipe: RECIPE,
    env: { HOME: "/home/tester" },
  }),
  numbered(frameKinds.follow, 0),
  frameOf(
    frameKinds.send,
    Buffer.from(runId(1), "hex"),
    Buffer.from([10]),
    Buffer.from("recorded-2"),
    ...piecesOf(request),
  ),
  jsonFrame(frameKinds.command, {
    id: "recorded-3",
    verb: "interrupt",
    run_id: runId(1),
  }),
  numbered(frameKinds.ack, 1),
  numbered(frameKinds.hold),
  numbered(frameKinds.follow, 1),
  frameOf(frameKinds.ping),
  ...(version >= 2 ? additions : []),
  jsonFrame(frameKinds.command, {
    id: "recorded-4",
    verb: "stop",
    run_id: runId(1),
    restart: false,
  }),
];

/** Lets the kernel do one of everything. */
function act({ kernels }: TestKeeper): void {
  const { kernel } = kernels;
  kernel.busy(request);
  kernel.print("42", request);
  kernel.deliver({
    ...compose({
      channel: "iopub",
      msg_type: "display_data",
      content: { data: {}, metadata: {} },
      session: "kernel",
      username: "kernel",
      parent: request,
    }),
    buffers: [Buffer.from([0, 1, 255])],
  });
  kernel.write("display_data", "not JSON", request);
  kernel.overflow("iopub", 5);
  kernel.idle(request);
}

/** Port 80 sends back what it gets. No program listens on others. */
function listen({ kernels }: TestKeeper): void {
  const { kernel } = kernels;
  const refuse = kernel.place;
  kernel.place = (port) => {
    if (port !== 80) return refuse(port);
    const [mine, its] = placePair();
    mine.pipe(mine);
    return Promise.resolve(its);
  };
}

async function record(version: number): Promise<void> {
  const keeper = new TestKeeper();
  const steps = stepsOf(version);
  const stream = keeper.connect();
  const said: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => said.push(Buffer.from(chunk)));
  stream.write(MAGIC);
  for (const step of steps) {
    for (const piece of step) stream.write(piece);
    await new Promise((resolve) => setTimeout(resolve, 50));
    if (step === steps[1]) listen(keeper);
    if (step === steps[3]) act(keeper);
  }
  await keeper.kernels.kernel.exited;
  await new Promise((resolve) => setTimeout(resolve, 2_500));
  // The facts of the recording machine are replaced.
  const frames = [...new FrameReader(FRAME_LIMIT).read(Buffer.concat(said))];
  const keeperBytes = frames.flatMap(({ kind, body }) => {
    if (kind !== frameKinds.hello) return frameOf(kind, body);
    const hello = JSON.parse(body.toString()) as Record<string, unknown>;
    const facts = { host: "box", boot_id: "a-boot", pid: 4242 };
    return jsonFrame(kind, { ...hello, version: "0.1.0", ...facts });
  });
  const fixture: Fixture = {
    server: Buffer.concat([MAGIC, ...steps.flat()]).toString("base64"),
    keeper: Buffer.concat([MAGIC, ...keeperBytes]).toString("base64"),
  };
  writeFileSync(pathOf(version), `${JSON.stringify(fixture, null, 2)}\n`);
}

if (recorded !== undefined) {
  test("the conversation is recorded", () => record(Number(recorded)));
}

const kept = recorded === undefined ? VERSIONS : [];

describe.each(kept)("protocol version %i", (version) => {
  const bytes = (side: keyof Fixture): Buffer => {
    const text = readFileSync(pathOf(version), "utf8");
    const fixture = JSON.parse(text) as Fixture;
    return Buffer.from(fixture[side], "base64");
  };

  test("today's server understands a keeper of that version", async () => {
    const written = new PassThrough();
    written.resume();
    const readable = new PassThrough();
    const link = await KeeperLink.open({
      connect() {
        readable.write(bytes("keeper").subarray(0, HELLO_END));
        return Duplex.from({ readable, writable: written });
      },
      secret: SECRET,
      epoch: 1,
      log: silentLog(),
      whyGone: () => undefined,
    });
    onTestFinished(() => link.close());
    const start = new TestKeptServer(link).start();
    await new Promise((resolve) => setImmediate(resolve));
    const [before, after] = parted(bytes("keeper").subarray(HELLO_END));
    readable.write(before);
    const { kernel, calls, noted } = await start;
    const connections = [80, 81, 80].map((port) => kernel.forward(port));
    const outcomes = Promise.allSettled(connections);
    if (after.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      readable.write(after);
    }
    expect(await kernel.exited).toMatchObject({ exit_code: 0, signal: null });
    expect(kernel.pid).toBe(4711);
    expect(kernel.info).toMatchObject({ language_info: { name: "fake" } });
    expect(calls.map(([name]) => name)).toEqual([
      "launched",
      "state",
      "message", // busy
      "message", // the text
      "message", // with a buffer
      "refused",
      "tooLarge",
      "message", // idle
      "exited",
    ]);
    const texts = calls.map((call) => JSON.stringify(call));
    expect(texts[3]).toContain("42");
    expect(calls[4]?.[5]).toEqual(["\x00\x01\xff"]);
    expect(noted.length).toBe(10);
    const [first, second] = await outcomes;
    const why = (outcome: PromiseSettledResult<Duplex> | undefined) =>
      outcome?.status === "rejected"
        ? (outcome.reason as Error).message
        : "open";
    if (version < 2) {
      expect(why(first)).toContain("is older than this server");
      return;
    }
    const [echo] = await Promise.all(connections.slice(0, 1));
    expect(await text(echo as Duplex)).toBe("hello");
    expect(why(second)).toContain("no program listens on it");
  });

  const HELLO_END = endOfFirstFrame(bytes("keeper"));

  test("today's keeper understands a server of that version", async () => {
    const keeper = new TestKeeper();
    const raw = keeper.raw();
    const reader = new FrameReader(FRAME_LIMIT);
    for (const { kind, body } of reader.read(bytes("server"))) {
      if (kind === frameKinds.follow) listen(keeper);
      raw.write(frameOf(kind, body));
      const answered = raw.frames.length;
      // Each step waits for the answer to the one before, or for a while.
      await eventually(
        "an answer",
        () => (raw.frames.length > answered ? true : undefined),
        100,
      ).catch(() => {});
    }
    await keeper.kernels.kernel.exited;
    await eventually("the answers to all commands", () =>
      raw.values(frameKinds.done).length >= version + 3 ? true : undefined,
    );
    expect(raw.values(frameKinds.failed)).toEqual([]);
    const ids = raw.values(frameKinds.done).map(({ id }) => id);
    expect(ids).toEqual(
      [1, 2, 3, ...(version >= 2 ? [5] : []), 4].map((n) => `recorded-${n}`),
    );
    const limits = { run_time_s: 60, memory_bytes: null };
    expect(keeper.kernels.kernel.limits).toEqual(version >= 2 ? [limits] : []);
    const got = raw.frames.filter(({ kind }) => kind === frameKinds.data);
    expect(got.map(({ body }) => body.toString("latin1", 8))).toEqual(
      version >= 2 ? ["hello"] : [],
    );
    expect(keeper.kernels.kernel.received).toEqual(["21 * 2"]);
    expect(keeper.kernels.kernel.interrupts).toBe(1);
    expect(raw.frames.some(({ kind }) => kind === frameKinds.pong)).toBe(true);
  });
});

/** What comes before the first frame of a forwarded connection, and the rest. */
function parted(bytes: Buffer): [Buffer, Buffer] {
  let at = 0;
  while (at < bytes.length && bytes[at + 4] !== frameKinds.opened) {
    at += 4 + bytes.readUInt32LE(at);
  }
  return [bytes.subarray(0, at), bytes.subarray(at)];
}

/** The offset after the magic and the hello. */
function endOfFirstFrame(bytes: Buffer): number {
  return MAGIC.length + 4 + bytes.readUInt32LE(MAGIC.length);
}
