/**
 * Version 1 of the protocol, as bytes of both directions of a small conversation.
 * Later programs must understand them: a keeper of that version, and a server of
 * that version.
 *
 * The file was written by this test with KALLICHORE_RECORD_FIXTURE=1. It is not
 * written again: what it holds was said by programs that still run.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { PassThrough, Duplex } from "node:stream";
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

const path = fileURLToPath(
  new URL("fixtures/protocol-1.json", import.meta.url),
);
const isRecording = process.env["KALLICHORE_RECORD_FIXTURE"] === "1";

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

/** What the server says, one step after the other. */
const steps: readonly (readonly Buffer[])[] = [
  jsonFrame(frameKinds.hello, {
    protocol: 1,
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

async function record(): Promise<void> {
  const keeper = new TestKeeper();
  const stream = keeper.connect();
  const said: Buffer[] = [];
  stream.on("data", (chunk: Buffer) => said.push(Buffer.from(chunk)));
  stream.write(MAGIC);
  for (const step of steps) {
    for (const piece of step) stream.write(piece);
    await new Promise((resolve) => setTimeout(resolve, 50));
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
  writeFileSync(path, `${JSON.stringify(fixture, null, 2)}\n`);
}

if (isRecording) test("the conversation is recorded", record);

describe.skipIf(isRecording)("protocol version 1", () => {
  const bytes = (side: keyof Fixture): Buffer => {
    const fixture = JSON.parse(readFileSync(path, "utf8")) as Fixture;
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
    readable.write(bytes("keeper").subarray(HELLO_END));
    const { kernel, calls, noted } = await start;
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
  });

  const HELLO_END = isRecording ? 0 : endOfFirstFrame(bytes("keeper"));

  test("today's keeper understands a server of that version", async () => {
    const keeper = new TestKeeper();
    const raw = keeper.raw();
    const reader = new FrameReader(FRAME_LIMIT);
    for (const { kind, body } of reader.read(bytes("server"))) {
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
      raw.values(frameKinds.done).length >= 4 ? true : undefined,
    );
    expect(raw.values(frameKinds.failed)).toEqual([]);
    expect(raw.values(frameKinds.done).map(({ id }) => id)).toEqual([
      "recorded-1",
      "recorded-2",
      "recorded-3",
      "recorded-4",
    ]);
    expect(keeper.kernels.kernel.received).toEqual(["21 * 2"]);
    expect(keeper.kernels.kernel.interrupts).toBe(1);
    expect(raw.frames.some(({ kind }) => kind === frameKinds.pong)).toBe(true);
  });
});

/** The offset after the magic and the hello. */
function endOfFirstFrame(bytes: Buffer): number {
  return MAGIC.length + 4 + bytes.readUInt32LE(MAGIC.length);
}
