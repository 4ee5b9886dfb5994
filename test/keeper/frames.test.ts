/** The frames of a keeper's stream, and the frames of its events, byte by byte. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Refusal } from "../../src/jupyter/admission.ts";
import { compose, type Message } from "../../src/jupyter/message.ts";
import { type Burst, BURST_ROW, withRecord } from "../../src/jupyter/record.ts";
import {
  type Body,
  burstEvent,
  callHook,
  eventFrame,
  eventIn,
  EventReader,
  eventKinds,
  jsonEvent,
  messageEvent,
  outputEvent,
  refusedEvent,
} from "../../src/keeper/events.ts";
import {
  FRAME_LIMIT,
  type Frame,
  frameOf,
  FrameReader,
  HELLO_LIMIT,
  MAGIC,
  readU64,
  writeU64,
} from "../../src/keeper/frames.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";
import { type Call, recordingHooks } from "./recording-hooks.ts";

const RUN = Buffer.from("00112233445566778899aabbccddeeff", "hex");

/** The frames in these chunks; small frames are views, so they are copied. */
function framesIn(chunks: readonly Buffer[], limit = FRAME_LIMIT): Frame[] {
  const reader = new FrameReader(limit);
  return chunks.flatMap((chunk) =>
    [...reader.read(chunk)].map((frame) => ({
      ...frame,
      body: Buffer.from(frame.body),
    })),
  );
}

function plain(frames: readonly Frame[]): [number, string][] {
  return frames.map(({ kind, body }) => [kind, body.toString("hex")]);
}

describe("frames", () => {
  const frames = [
    frameOf(0x20),
    frameOf(0x10, Buffer.from("one"), Buffer.from("two")),
    frameOf(0x30, Buffer.alloc(300, 7)),
    frameOf(0x21, Buffer.from([1])),
  ];
  const bytes = Buffer.concat([MAGIC, ...frames.flat()]);
  const expected: [number, string][] = [
    [0x20, ""],
    [0x10, Buffer.from("onetwo").toString("hex")],
    [0x30, Buffer.alloc(300, 7).toString("hex")],
    [0x21, "01"],
  ];

  test("are length, kind and body", () => {
    expect(frames[1]?.map((piece) => piece.toString("hex"))).toEqual([
      `0700000010${Buffer.from("onetwo").toString("hex")}`,
    ]);
  });

  test("are the same for each cut into two", () => {
    for (let cut = 0; cut <= bytes.length; cut += 1) {
      const parts = [bytes.subarray(0, cut), bytes.subarray(cut)];
      expect(plain(framesIn(parts))).toEqual(expected);
    }
  });

  test("are the same byte by byte", () => {
    const parts = Array.from(bytes, (_, at) => bytes.subarray(at, at + 1));
    expect(plain(framesIn(parts))).toEqual(expected);
  });

  test("are what was written, for any frames and any cuts", () => {
    const frame = fc.record({
      kind: fc.integer({ min: 0, max: 255 }),
      pieces: fc.array(fc.uint8Array({ maxLength: 70_000, size: "large" }), {
        maxLength: 4,
      }),
    });
    fc.assert(
      fc.property(
        fc.array(frame, { maxLength: 6 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 90_000 })),
        (all, sizes) => {
          const whole = Buffer.concat([
            MAGIC,
            ...all.flatMap(({ kind, pieces }) => frameOf(kind, ...pieces)),
          ]);
          const parts: Buffer[] = [];
          for (let at = 0; at < whole.length;) {
            const size = Number(sizes.next().value);
            parts.push(whole.subarray(at, at + size));
            at += size;
          }
          expect(plain(framesIn(parts))).toEqual(
            all.map(({ kind, pieces }) => [
              kind,
              Buffer.concat(pieces).toString("hex"),
            ]),
          );
        },
      ),
      { numRuns: 40 },
    );
  });

  test.each(["GET / HTTP/1.1", "KKPQ", "K\0PR", "SSH-2.0"])(
    "a stream that begins with %j is refused at its first wrong byte",
    (text) => {
      const all = Buffer.from(text);
      let wrong = 0;
      while (all[wrong] === MAGIC[wrong]) wrong += 1;
      expect(() => framesIn([all.subarray(0, wrong)])).not.toThrow();
      expect(() => framesIn([all.subarray(0, wrong + 1)])).toThrow(
        "does not begin as a keeper's stream",
      );
    },
  );

  test.each([0, HELLO_LIMIT + 1, 0xffff_ffff])(
    "a frame of %i bytes is refused before its body arrives",
    (length) => {
      const head = Buffer.from([0, 0, 0, 0, 1]);
      head.writeUInt32LE(length, 0);
      expect(() => framesIn([MAGIC, head], HELLO_LIMIT)).toThrow(
        `a frame of ${length} bytes`,
      );
    },
  );

  test("any bytes are frames or an error, and nothing else happens", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          framesIn([MAGIC, Buffer.from(bytes)], HELLO_LIMIT);
        } catch (error) {
          expect((error as Error).name).toBe("StreamError");
        }
      }),
    );
  });

  test("numbers have 64 bits, and are safe integers", () => {
    const bytes = Buffer.alloc(8);
    for (const number of [
      0,
      1,
      2 ** 32 - 1,
      2 ** 32,
      Number.MAX_SAFE_INTEGER,
    ]) {
      writeU64(bytes, 0, number);
      expect(bytes.readBigUInt64LE()).toBe(BigInt(number));
      expect(readU64(bytes, 0)).toBe(number);
    }
    bytes.fill(0xff);
    expect(() => readU64(bytes, 0)).toThrow("too large");
  });
});

/** The calls that an event causes after a way over the stream, cut at `cut`. */
function received(body: Body, cut: number, number = 7): Call[] {
  const bytes = Buffer.concat([MAGIC, ...eventFrame(RUN, number, body)]);
  const reader = new FrameReader(FRAME_LIMIT);
  const { hooks, calls } = recordingHooks();
  for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
    for (const frame of reader.read(part)) {
      const event = eventIn(frame);
      expect(event).toMatchObject({ run_id: RUN.toString("hex"), number });
      const isMessage =
        event.kind === eventKinds.message || event.kind === eventKinds.record;
      if (isMessage) hooks.message(new EventReader().message(event));
      else callHook(event, hooks);
    }
  }
  return calls;
}

const parent = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: { code: "1" },
  session: "s",
  username: "u",
  msg_id: "the-parent",
});

function message(more: Partial<Parameters<typeof compose>[0]> = {}): Message {
  return compose({
    channel: "iopub",
    msg_type: "display_data",
    content: { data: { "text/plain": "ü \ud83d\ude00" } },
    session: "k",
    username: "k",
    ...more,
  });
}

const events: [
  string,
  Body,
  (hooks: ReturnType<typeof recordingHooks>["hooks"]) => void,
][] = [];
function also(
  name: string,
  body: Body,
  call: (typeof events)[number][2],
): void {
  events.push([name, body, call]);
}

for (const [name, one] of [
  ["a message", message({ parent })],
  ["a message without a parent", message()],
  [
    "a message with buffers",
    message({ parent, buffers: [Buffer.from([0, 255]), Buffer.alloc(0)] }),
  ],
  ["a message on stdin", message({ channel: "stdin", parent })],
  [
    "a large message",
    runAtOnce(
      withRecord(message({ parent, content: { text: "x".repeat(70_000) } })),
    ),
  ],
  [
    "a large message without a parent",
    runAtOnce(withRecord(message({ content: {} }))),
  ],
  [
    "a large message with buffers",
    runAtOnce(
      withRecord(message({ parent, buffers: [Buffer.alloc(70_000, 3)] })),
    ),
  ],
] as const) {
  also(name, messageEvent(one), (hooks) => hooks.message(one));
}
const refusal: Refusal = {
  channel: "shell",
  msg_type: "execute_reply",
  parent: { header: parent.header, raw: parent.raw },
  reason: "not_json",
  size: 12,
};
also("a refusal", refusedEvent(refusal), (hooks) => hooks.refused(refusal));
const nameless: Refusal = { ...refusal, parent: undefined };
also("a refusal without a parent", refusedEvent(nameless), (hooks) =>
  hooks.refused(nameless),
);
also("output", outputEvent("stderr", "ä\0\n"), (hooks) =>
  hooks.output("stderr", "ä\0\n"),
);
also("empty output", outputEvent("stdout", ""), (hooks) =>
  hooks.output("stdout", ""),
);
also("a state", jsonEvent("state", { state: "busy" }), (hooks) =>
  hooks.state("busy"),
);
also(
  "a message that is too large",
  jsonEvent("tooLarge", { channel: "iopub", size: 2 ** 31 }),
  (hooks) => hooks.tooLarge("iopub", 2 ** 31),
);

describe("events", () => {
  test.each(events)("%s arrives as it was, for each cut", (_, body, call) => {
    const { hooks, calls } = recordingHooks();
    call(hooks);
    const size = Buffer.concat([MAGIC, ...eventFrame(RUN, 7, body)]).length;
    const step = size < 2_000 ? 1 : Math.floor(size / 100);
    for (let cut = 0; cut <= size; cut += step) {
      expect(received(body, cut)).toEqual(calls);
    }
  });

  test("the record of a large message begins its own memory, so that the journal can take it", () => {
    const large = message({ parent, content: { text: "x".repeat(100_000) } });
    const own = runAtOnce(withRecord(large));
    const bytes = Buffer.concat([
      MAGIC,
      ...eventFrame(RUN, 1, messageEvent(own)),
    ]);
    for (const cut of [2, 50_000, bytes.length - 1, bytes.length]) {
      const reader = new FrameReader(FRAME_LIMIT);
      const frames = [bytes.subarray(0, cut), bytes.subarray(cut)].flatMap(
        (part) => [...reader.read(part)],
      );
      const read = new EventReader().message(eventIn(frames[0] as Frame));
      expect(read.record?.byteOffset).toBe(0);
      expect(read.record?.equals(own.record)).toBe(true);
      expect(read.raw.content.buffer).toBe(read.record?.buffer);
    }
  });

  test("a burst arrives with its rows and records", () => {
    const rows = new Int32Array(BURST_ROW * 3).map((_, index) => index * 3 - 5);
    const memory = new Int32Array(200); // rows are a view, not at the beginning
    memory.set(rows, 5);
    const burst: Burst = {
      msg_type: "stream",
      parent_id: "the-parent",
      count: 3,
      records: Buffer.from("three records"),
      rows: memory.subarray(5, 5 + rows.length),
    };
    const body = burstEvent(burst);
    const size = Buffer.concat([MAGIC, ...eventFrame(RUN, 7, body)]).length;
    for (let cut = 0; cut <= size; cut += 1) {
      expect(received(body, cut)).toEqual([
        ["burst", "stream", "the-parent", 3, "three records", [...rows]],
      ]);
    }
  });

  test("an event keeps its bytes when their memory is used again", () => {
    const content = Buffer.from('{"a":1}');
    const one = message({ parent });
    const view = { ...one, raw: { ...one.raw, content } };
    const frame = Buffer.concat(eventFrame(RUN, 1, messageEvent(view)));
    content.fill(0);
    expect(frame.includes('{"a":1}')).toBe(true);
  });

  test("bytes that are not an event are an error of the stream, for any bytes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 15 }),
        fc.uint8Array({ maxLength: 120 }),
        (kind, bytes) => {
          const event = { kind, bytes: Buffer.from(bytes), isOwn: false };
          try {
            if (kind === 1 || kind === 2) new EventReader().message(event);
            else {
              callHook(
                { ...event, run_id: "", number: 1 },
                recordingHooks().hooks,
              );
            }
          } catch (error) {
            // Of ours, or of a `Buffer` that is shorter than its lengths say.
            expect((error as Error).name).toMatch(/^(StreamError|RangeError)$/);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
