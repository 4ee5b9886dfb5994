/** Messages that are taken in bulk become the same records as those that are read one at a time. */
import { once } from "node:events";
import type { Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, expect, test } from "vitest";
import { FramesRefused } from "../../src/jupyter/admission.ts";
import { FrameReader, Signer, toFrames } from "../../src/jupyter/frames.ts";
import { Intake } from "../../src/jupyter/intake.ts";
import { compose, type Message } from "../../src/jupyter/message.ts";
import type { Burst } from "../../src/jupyter/record.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { Journal } from "../../src/journal/journal.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import { silentLog } from "../../src/log/log.ts";
import {
  noDisplays,
  noteDisplay,
  noteDisplays,
} from "../../src/session/displays.ts";
import { History } from "../../src/session/history.ts";
import { ZmtpConnection } from "../../src/zmq/zmtp/connection.ts";
import { Decoder } from "../../src/zmq/zmtp/decoder.ts";
import { Encoder } from "../../src/zmq/zmtp/encoder.ts";
import { PeerQueue } from "../../src/zmq/peer-queue.ts";
import type { Frames } from "../../src/zmq/transport.ts";
import { closeAll, GREETING, plainPeer, READY_XPUB } from "../zmq/peers.ts";

const KEY = "0123456789abcdef";
const parent = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: { code: "1" },
  session: "s",
  username: "u",
});

const afterwards: (() => void)[] = [];
const journals: Journal[] = [];
afterEach(async () => {
  for (const each of afterwards.splice(0)) each();
  closeAll();
  for (const journal of journals.splice(0))
    await journal[Symbol.asyncDispose]();
});

function journalOf(memory: number): Journal {
  const journal = new Journal({
    memory,
    disk: 0,
    budget: new MemoryBudget(64 * 1024 * 1024),
    diskBudget: new DiskBudget(0),
    directory: () => {
      throw new Error("no disk");
    },
    log: silentLog(),
  });
  journals.push(journal);
  return journal;
}

function textsIn(journal: Journal): string[] {
  const texts: string[] = [];
  for (let seen = 0; seen < journal.last;) {
    const reading = journal.read(seen);
    if (reading === undefined || !("entries" in reading))
      throw new Error("gap");
    const { slab, from, to, last } = reading.entries;
    for (const entry of reading.entries) texts.push(entry.text.toString());
    expect(slab.recordsOf(from, to).length).toBeGreaterThan(0);
    seen = last;
  }
  return texts;
}

/** A journal, and a kernel's messages for it. */
function recorder(key: string, isBulk: boolean) {
  const journal = journalOf(32 * 1024 * 1024);
  const signer = new Signer(key);
  const reader = new FrameReader(signer);
  const history = new History();
  history.sent(parent);
  const displays = noDisplays();
  const bursts: number[] = [];
  const refused: string[] = [];
  const heard = (burst: Burst) => {
    bursts.push(burst.count);
    const { first, last } = journal.appendBurst(burst);
    expect(last - first + 1).toBe(burst.count);
    noteDisplays(displays, burst);
    history.receivedBurst(burst);
  };
  const intake = isBulk ? Intake.for(signer, heard) : undefined;
  const messages = (batch: readonly Frames[]) => {
    for (const frames of batch) {
      try {
        const message = reader.read(frames, "iopub");
        const entry = journal.append(message);
        noteDisplay(displays, entry, message.raw.content);
        history.received(entry, message.raw.content);
      } catch (error) {
        if (!(error instanceof FramesRefused)) throw error;
        refused.push(error.message);
      }
      const { lastParent } = reader;
      if (lastParent) intake?.follow(lastParent.received, lastParent.msg_id);
    }
  };
  const result = () => {
    const shown = [...history].map(({ output, truncated }) => {
      return { output, truncated };
    });
    const displayed = [...displays.entries()].map(([id, { content, size }]) => {
      return { id, content: content.toString(), size };
    });
    return { texts: textsIn(journal), refused, bursts, shown, displayed };
  };
  return { journal, intake, messages, result };
}

/** Reads the bytes of a connection in pieces of that size, in bulk or not. Returns the content of the journal. */
function taken(
  bytes: Buffer,
  { step, key, isBulk }: { step: number; key: string; isBulk: boolean },
) {
  const { intake, messages, result } = recorder(key, isBulk);
  const decoder = new Decoder();
  for (let at = 0; at < bytes.length;) {
    const region = decoder.region();
    const some = bytes.subarray(at, at + Math.min(step, region.length));
    region.set(some);
    decoder.filled(some.length);
    intake?.refilled();
    at += some.length;
    for (;;) {
      if (intake !== undefined && decoder.isBetween) {
        decoder.skip(intake.take(decoder.peek()));
      }
      const batch: Frames[] = [];
      decoder.read(batch, intake === undefined ? 100 : 2);
      if (batch.length === 0) break;
      messages(batch);
    }
  }
  return result();
}

/** The same over a real connection, which is paused now and then. */
async function takenOverTcp(
  bytes: Buffer,
  { steps, isBulk }: { steps: readonly number[]; isBulk: boolean },
) {
  const { intake, messages, result, journal } = recorder(KEY, isBulk);
  const endpoint = await plainPeer((socket) => void feed(socket));
  async function feed(socket: Socket): Promise<void> {
    socket.setNoDelay(true);
    socket.write(Buffer.concat([GREETING, READY_XPUB]));
    for (let at = 0, n = 0; at < bytes.length; n += 1) {
      const step = steps[n % steps.length] as number;
      if (!socket.write(bytes.subarray(at, at + step))) {
        await once(socket, "drain");
      }
      at += step;
      if (n % 7 === 0) await delay(1);
    }
    socket.end();
  }
  let requested = 0;
  await new Promise<void>((resolve) => {
    const connection = new ZmtpConnection(
      {
        type: "sub",
        endpoint,
        backpressure: () => ((requested += 1) % 3 === 0 ? delay(1) : undefined),
        ...(intake !== undefined && { bulk: intake }),
      },
      { ready: () => {}, messages, drained: () => {}, ended: () => resolve() },
    );
    afterwards.push(() => connection.destroy());
  });
  expect(journal.last).toBeGreaterThan(0);
  return result();
}

function wire(messages: readonly Frames[]): Buffer {
  const encoder = new Encoder();
  const pieces: Uint8Array[] = [];
  for (const frames of messages) {
    const queue = new PeerQueue();
    queue.push(frames);
    while (queue.length > 0) {
      for (const piece of encoder.encode(queue)) {
        pieces.push(Uint8Array.from(piece));
      }
    }
  }
  return Buffer.concat(pieces);
}

function framesOf(
  message: Message,
  key = KEY,
  topic = "kernel.stream",
): Frames {
  return toFrames(message, new Signer(key), [Buffer.from(topic)]);
}

const stream = (text: string, of: Message = parent): Message =>
  compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stdout", text },
    session: "s",
    username: "u",
    parent: of,
  });

test("many messages are taken in bulk, with the same result as one by one", () => {
  const messages = Array.from({ length: 3_000 }, (_, n) =>
    framesOf(stream(`${n} `.repeat((n * 7) % 900))),
  );
  const bytes = wire(messages);
  const one = taken(bytes, { step: 1e6, key: KEY, isBulk: false });
  const bulk = taken(bytes, { step: 1e6, key: KEY, isBulk: true });
  expect(bulk.texts).toEqual(one.texts);
  expect(bulk.shown).toEqual(one.shown);
  expect(one.texts).toHaveLength(3_000);
  const inBulk = bulk.bursts.reduce((sum, count) => sum + count, 0);
  expect(inBulk).toBeGreaterThan(2_800);
});

test("many displays are taken in bulk, and the last one of each is its content", () => {
  const messages = Array.from({ length: 1_000 }, (_, n) =>
    framesOf(
      compose({
        channel: "iopub",
        msg_type: n % 100 < 50 ? "display_data" : "update_display_data",
        content: {
          data:
            n % 3 === 0 ? { "image/png": "AAAA" } : { "text/plain": `${n}` },
          metadata: {},
          transient: n % 2 === 0 ? {} : { display_id: `d${n % 7}` },
        },
        session: "s",
        username: "u",
        parent,
      }),
    ),
  );
  const bytes = wire(messages);
  const one = taken(bytes, { step: 1e6, key: KEY, isBulk: false });
  const bulk = taken(bytes, { step: 1e6, key: KEY, isBulk: true });
  expect(bulk.texts).toEqual(one.texts);
  expect(bulk.shown).toEqual(one.shown);
  expect(bulk.displayed).toEqual(one.displayed);
  const last = bulk.displayed.find(({ id }) => id === `d${999 % 7}`);
  expect(last?.content).toContain('"image/png"');
  const inBulk = bulk.bursts.reduce((sum, count) => sum + count, 0);
  expect(inBulk).toBeGreaterThan(900);
});

test.each([
  { what: "small messages", sizes: [0, 900], steps: [50_000, 3, 7_001] },
  { what: "of all sizes", sizes: [0, 70_000], steps: [300_000, 1, 100_000] },
  { what: "in small pieces", sizes: [100, 400], steps: [17, 900, 333] },
  { what: "large messages", sizes: [9_000, 40_000], steps: [64_000, 9] },
])(
  "on a paused connection $what arrive unchanged",
  async ({ sizes: [least, most], steps }) => {
    const count = Math.min(2_000, Math.ceil(12_000_000 / (most as number)));
    const messages = Array.from({ length: count }, (_, n) => {
      const length = (n * 7_919) % ((most as number) - (least as number));
      return framesOf(stream(`${n} `.padEnd((least as number) + length, "é")));
    });
    const bytes = wire(messages);
    const one = await takenOverTcp(bytes, { steps, isBulk: false });
    const bulk = await takenOverTcp(bytes, { steps, isBulk: true });
    expect(one.texts).toHaveLength(count);
    expect(bulk.refused).toEqual([]);
    expect(bulk.texts).toEqual(one.texts);
    expect(bulk.bursts.length).toBeGreaterThan(0);
  },
);

test("a message with a wrong signature is refused, and those around it are accepted", () => {
  const messages = Array.from({ length: 20 }, (_, n) =>
    framesOf(stream(`${n}`), n === 11 ? "another key" : KEY),
  );
  const { texts, refused } = taken(wire(messages), {
    step: 1e6,
    key: KEY,
    isBulk: true,
  });
  expect(refused).toEqual(["signed with another key"]);
  expect(texts.map((text) => /"text":"(\d+)"/.exec(text)?.[1])).toEqual(
    Array.from({ length: 20 }, (_, n) => `${n}`).filter((n) => n !== "11"),
  );
});

test("long keys and empty keys work too", () => {
  for (const key of ["k".repeat(100), ""]) {
    const bytes = wire(
      Array.from({ length: 30 }, (_, n) => framesOf(stream(`${n}`), key)),
    );
    const { texts, refused, bursts } = taken(bytes, {
      step: 1e6,
      key,
      isBulk: true,
    });
    expect([texts.length, refused.length]).toEqual([30, 0]);
    expect(bursts.length).toBeGreaterThan(0);
  }
});

const other = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: {},
  session: "s",
  username: "u",
});

/** Contents of streams: of all lengths, with all escapes. */
const output = fc
  .tuple(
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.constantFrom(
      "",
      "\n",
      "\\",
      '"',
      "\u0001",
      "é",
      "\u{1f600}",
      "\ud800",
      "x",
    ),
    fc.nat(1_500),
  )
  .map(([text, sign, times]) => {
    const content = { name: "stdout", text: text + sign.repeat(times) };
    return Buffer.from(JSON.stringify(content));
  });

/** Contents of displays, and similar values. */
const bundle = fc
  .record(
    {
      data: fc.oneof(
        fc.dictionary(
          fc.constantFrom("text/plain", "image/png", "text/\u0001"),
          fc.oneof(fc.string({ unit: "binary" }), fc.jsonValue()),
          { maxKeys: 3 },
        ),
        fc.constant({ "text/plain": "é\ud800\n\u{1f600}".repeat(300) }),
        fc.jsonValue(),
      ),
      metadata: fc.constantFrom({}, { "text/plain": "x", display_id: "none" }),
      transient: fc.constantFrom(
        ...[{}, { display_id: "one" }, { display_id: "two" }],
        ...[{ display_id: 3 }, [{ display_id: "one" }], "display_id"],
      ),
      more: fc.constant(Object.fromEntries([...Array(40).keys()].entries())),
    },
    { requiredKeys: [] },
  )
  .map((content) => JSON.stringify(content))
  .chain((text) =>
    fc.constantFrom(
      ...[text, text, text, text.replace("text/plain", "text\\/plain")],
      ...[text.replace("data", "d\\u0061ta"), text.replace("}", ',"data":{}}')],
    ),
  )
  .map((text) => Buffer.from(text));

/** JSON, and similar texts, for a frame of a message. */
const json = fc.oneof(
  fc.jsonValue().map((value) => Buffer.from(JSON.stringify(value))),
  fc
    .constantFrom(
      ...["{}", "[]", "null", "", "{", "NaN", '{"a":NaN}', '"\\ud800"', " {} "],
      ...['{"msg_type":"stream","msg_id":"x"}', '{"a":[1,{"b":"\\"}"}]}'],
      ...['{"text":"é\u{1f600}"}', '{"a":1}{"b":2}', "\ufeff{}", '{"a":"\n"}'],
    )
    .map((text) => Buffer.from(text)),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
);

const header = fc.oneof(
  { weight: 6, arbitrary: fc.constant(undefined) },
  {
    weight: 4,
    arbitrary: fc
      .constantFrom(
        '{"msg_id":"a","msg_type":"stream","x":{"msg_type":"y","msg_id":3}}',
        '{"msg_type":"stream","msg_type":"status","msg_id":"a"}',
        '{"msg_type":"status","msg_type":"stream","msg_id":"a"}',
        '{"msg\\u005ftype":"x","msg_type":"stream","msg_id":"a"}',
        '{ "msg_type" : "comm_msg" , "msg_id" : "b", "z": [ "msg_type" , "x" ] }',
        '{"msg_id":7,"msg_type":"stream"}',
        '{"msg_type":"stream"}',
        '{"msg_type":"clear_output","msg_id":"é"}',
        '{"msg_type":"display_data","msg_id":"d"}',
        '{"msg_type":"display_data","msg_id":"e"}',
        '{"msg_type":"update_display_data","msg_id":"f"}',
        '{"msg_id":"g","msg_type":"execute_result"}',
        '{"msg_id":"h","msg_type":"execute_resu1t"}',
        '["msg_type","stream","msg_id","a"]',
        '{"a":"msg_type","b":"msg_id","msg_id":"c","msg_type":"stre\\u0061m"}',
      )
      .map((text) => Buffer.from(text)),
  },
  { weight: 1, arbitrary: json },
);

const anything = fc.record({
  header,
  parent: fc.constantFrom("same", "same", "same", "other", "none"),
  metadata: fc.oneof(fc.constant(Buffer.from("{}")), json),
  content: fc.oneof(
    { weight: 2, arbitrary: output },
    { weight: 2, arbitrary: bundle },
    json,
  ),
  buffers: fc.oneof(
    { weight: 5, arbitrary: fc.constant([]) },
    { weight: 1, arbitrary: fc.array(fc.uint8Array(), { maxLength: 2 }) },
  ),
  topics: fc.nat(3),
  key: fc.constantFrom(KEY, KEY, KEY, KEY, "another"),
});

test("with any messages of a kernel and any read boundaries, both ways have the same result", () => {
  fc.assert(
    fc.property(
      fc.array(anything, { maxLength: 30, size: "max" }),
      fc.constantFrom(KEY, ""),
      fc.integer({ min: 1, max: 5_000 }),
      (drafts, key, step) => {
        const messages = drafts.map((draft) => {
          const own = draft.parent === "other" ? other : parent;
          const { raw } = stream("x", own);
          const frames = {
            header: draft.header ?? raw.header,
            parent_header:
              draft.parent === "none" ? Buffer.from("{}") : raw.parent_header,
            metadata: draft.metadata,
            content: draft.content,
          };
          const signer = new Signer(key === "" ? "" : draft.key);
          const topics = Array.from({ length: draft.topics }, (_, n) =>
            Buffer.from(`t${n}`),
          );
          const message = { raw: frames, buffers: draft.buffers };
          return toFrames(message, signer, topics);
        });
        const bytes = wire(messages);
        const one = taken(bytes, { step, key, isBulk: false });
        const bulk = taken(bytes, { step, key, isBulk: true });
        expect(bulk.texts).toEqual(one.texts);
        expect(bulk.refused).toEqual(one.refused);
        expect(bulk.shown).toEqual(one.shown);
        expect(bulk.displayed).toEqual(one.displayed);
      },
    ),
    { numRuns: Number(process.env["INTAKE_RUNS"] ?? 500) },
  );
});
