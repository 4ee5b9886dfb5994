/**
 * A kernel that sends wrong data: every type of message, in each of its fields,
 * with values of the wrong type, depth, size and encoding; envelopes that are
 * forged, repeated, unsigned or incomplete; and random bytes in each phase of
 * ZMTP's handshake. Another session runs beside it, whose answers and
 * description must not change.
 *
 *     HOSTILE_SECONDS=3600 HOSTILE_SEED=7 npx vitest run test/hostile/kernel.test.ts
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import { Signer } from "../../src/jupyter/frames.ts";
import { TOKEN } from "../harness.ts";
import { framesOf, type Lie, Liar } from "./liar.ts";
import {
  Beside,
  type Room,
  rooms,
  type Speaker,
  toBeAdopted,
} from "./rooms.ts";

const SEED = Number(process.env["HOSTILE_SEED"] ?? 20_261_128);
/** The time for each room and each test. */
const SECONDS = Number(process.env["HOSTILE_SECONDS"] ?? 2);
/** Messages with bad signatures; fewer in a short run. */
const FLOOD = SECONDS > 2 ? 100_000 : 20_000;
/** Wrong messages between two checks of the session beside. */
const BURST = 40;

const channels = ["shell", "control", "stdin", "iopub"] as const;

/** Each type of message with a value of the right kind in each field. */
const honest: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  status: { execution_state: "busy" },
  stream: { name: "stdout", text: "hello" },
  display_data: {
    data: { "text/plain": "x" },
    metadata: {},
    transient: { display_id: "d" },
  },
  update_display_data: {
    data: {},
    metadata: {},
    transient: { display_id: "d" },
  },
  execute_result: {
    data: { "text/plain": "1" },
    metadata: {},
    execution_count: 1,
  },
  execute_input: { code: "1", execution_count: 1 },
  error: { ename: "E", evalue: "v", traceback: ["t"] },
  clear_output: { wait: true },
  comm_open: { comm_id: "c", target_name: "t", data: {} },
  comm_msg: { comm_id: "c", data: {} },
  comm_close: { comm_id: "c", data: {} },
  input_request: { prompt: "?", password: false },
  execute_reply: {
    status: "ok",
    execution_count: 1,
    payload: [],
    user_expressions: {},
  },
  kernel_info_reply: {
    status: "ok",
    protocol_version: "5.3",
    language_info: { name: "x" },
    banner: "",
    help_links: [],
  },
  complete_reply: {
    status: "ok",
    matches: [],
    cursor_start: 0,
    cursor_end: 0,
    metadata: {},
  },
  inspect_reply: { status: "ok", found: true, data: {}, metadata: {} },
  history_reply: { status: "ok", history: [] },
  is_complete_reply: { status: "complete", indent: "" },
  comm_info_reply: { status: "ok", comms: {} },
  shutdown_reply: { status: "ok", restart: false },
  interrupt_reply: { status: "ok" },
  debug_reply: { success: true, seq: 1, body: {} },
  iopub_welcome: { subscription: "" },
  "no such type": { x: 1 },
};

const deep = (depth: number, open: string, close: string): string =>
  open.repeat(depth) + (open === "[" ? "" : "1") + close.repeat(depth);

/** JSON texts that no field expects, and texts that are not JSON. */
const wrong = fc.constantFrom(
  ...[
    "null",
    "true",
    "5",
    "-1",
    "1e999",
    "12345678901234567890",
    '""',
    "[]",
    "{}",
  ],
  ...["NaN", "-Infinity", "", " ", "{nope", "[1,]", "undefined", '"\\ud8ff"'],
  ...[
    '{"__proto__":{"x":1}}',
    '{"toString":5}',
    '{},"kind":"kernel","exited":0',
  ],
  ...[
    deep(5_000, "[", "]"),
    deep(5_000, '{"a":', "}"),
    deep(100_000, "[", "]"),
  ],
  JSON.stringify("x".repeat(300_000)),
  JSON.stringify(
    Object.fromEntries(Array.from({ length: 3_000 }, (_, i) => [`k${i}`, i])),
  ),
);

const bytes = fc.oneof(
  { weight: 3, arbitrary: wrong.map((text) => Buffer.from(text)) },
  {
    weight: 1,
    arbitrary: fc
      .uint8Array({ maxLength: 400 })
      .map((some) => Buffer.from(some)),
  },
  { weight: 1, arbitrary: wrong.map((text) => Buffer.from(`\ufeff${text}`)) },
  { weight: 1, arbitrary: wrong.map((text) => Buffer.from(text, "utf16le")) },
);

/** One field, or the whole frame, has another value. */
const content = fc
  .constantFrom(...Object.entries(honest))
  .chain(([msg_type, fields]) =>
    fc.oneof(
      bytes.map((whole) => ({ msg_type, content: whole })),
      fc
        .tuple(fc.constantFrom(...Object.keys(fields)), wrong)
        .map(([field, value]) => ({
          msg_type,
          content: Buffer.from(
            `{${Object.entries(fields)
              .map(
                ([name, right]) =>
                  `${JSON.stringify(name)}:${name === field ? value : JSON.stringify(right)}`,
              )
              .join(",")}}`,
          ),
        })),
    ),
  );

const lies: fc.Arbitrary<(parent: string) => Lie> = fc
  .record(
    {
      content,
      header: fc.oneof(
        bytes,
        wrong.map((value) =>
          Buffer.from(`{"msg_id":${value},"msg_type":"status"}`),
        ),
        wrong.map((value) => Buffer.from(`{"msg_id":"m","msg_type":${value}}`)),
        wrong.map((value) =>
          Buffer.from(
            `{"msg_id":"m","msg_type":"status","session":${value},"date":${value}}`,
          ),
        ),
      ),
      parent_header: fc.oneof(bytes, fc.constant("parent" as const)),
      metadata: bytes,
      buffers: fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 4 }),
    },
    { requiredKeys: ["content"] },
  )
  .map(({ content, parent_header, ...rest }) => (parent) => ({
    ...rest,
    ...content,
    ...(parent_header !== undefined && {
      parent_header:
        parent_header === "parent" ? Buffer.from(parent) : parent_header,
    }),
  }));

describe.each(rooms)("$name", ({ open }) => {
  test(
    "wrong values in every field affect no other session",
    { timeout: (SECONDS + 60) * 1_000 },
    async () => {
      const room = await open();
      const beside = await Beside.in(room);
      const speaker = await room.speaker("liar");
      const parent = await begin(room, speaker);
      const before = await settled(room, speaker);
      const printed = await until(SECONDS, async (seed) => {
        const batch = fc.sample(fc.tuple(fc.constantFrom(...channels), lies), {
          seed,
          numRuns: BURST,
        });
        for (const [channel, lie] of batch) {
          await speaker.say(channel, lie(parent));
        }
        await beside.isUnhurt();
        const details = await room.ask("GET", "/sessions/liar");
        expect([details.status, details.text.length]).toEqual([
          200,
          expect.any(Number),
        ]);
        return BURST;
      });
      expect(printed).toBeGreaterThanOrEqual(BURST);
      // The valid messages are in the journal, and the next correct one is received.
      expect(await settled(room, speaker)).toBeGreaterThan(before + 1);
      await beside.isUnhurt();
    },
  );

  test(
    "envelopes that are forged, repeated, unsigned or incomplete have no effect",
    { timeout: (SECONDS + 60) * 1_000 },
    async () => {
      const room = await open();
      const beside = await Beside.in(room);
      const speaker = await room.speaker("liar");
      const parent = await begin(room, speaker);
      const stranger = new Signer("a stranger's key");
      const envelope = fc
        .tuple(lies, fc.nat(), fc.nat())
        .map(([lie, how, at]): Uint8Array[] => {
          const frames = framesOf(lie(parent));
          switch (how % 7) {
            case 0:
              return framesOf(lie(parent), stranger);
            case 1: // unsigned
              return frames.with(1, new Uint8Array());
            case 2: // without its delimiter
              return frames.slice(1);
            case 3: // incomplete: not even its content is there
              return frames.slice(0, 1 + (at % 5));
            case 4: // another message's signature
              return frames.with(
                1,
                framesOf({ msg_type: "status" })[1] ?? Buffer.of(),
              );
            case 5: // two delimiters
              return [...frames.slice(0, 1), ...frames];
            default: // many small frames
              return Array.from({ length: 2_000 }, () => Buffer.of(at & 0xff));
          }
        });
      const before = await settled(room, speaker);
      await until(SECONDS, async (seed) => {
        for (const frames of fc.sample(envelope, { seed, numRuns: BURST })) {
          await speaker.sayFrames("iopub", frames);
          await speaker.sayFrames("shell", frames);
          await speaker.sayFrames("iopub", frames); // once more
        }
        await beside.isUnhurt();
        return BURST;
      });
      expect(await settled(room, speaker)).toBe(before + 1);
    },
  );
});

describe.each(rooms.filter(({ adopts }) => adopts))("$name", ({ open }) => {
  test(
    "random bytes in any phase of the handshake have no effect",
    { timeout: (SECONDS + 120) * 1_000 },
    async () => {
      const room = await open();
      const beside = await Beside.in(room);
      let nth = 0;
      await until(SECONDS, async (seed) => {
        const [script = []] = fc.sample(handshakes, { seed, numRuns: 1 });
        const liar = await Liar.open();
        const noisy = await listening(script);
        const session_id = `noisy-${(nth += 1)}`;
        await toBeAdopted(room, session_id);
        const names = [
          "shell_port",
          "iopub_port",
          "control_port",
          "stdin_port",
          "hb_port",
        ];
        const name = names[nth % names.length] ?? "";
        const adopting = room.ask("PUT", `/sessions/${session_id}/adopt`, {
          ...liar.connection,
          [name]: noisy.port,
        });
        await beside.isUnhurt();
        const adopted = await adopting;
        expect(adopted.text).not.toContain('"internal"');
        noisy.close();
        await liar[Symbol.asyncDispose]();
        return 1;
      });
      await beside.isUnhurt();
    },
  );

  test("a flood of messages with bad signatures costs one log line a minute, and does not delay other clients", async () => {
    const room = await open();
    const beside = await Beside.in(room);
    const speaker = await room.speaker("liar");
    const frames = framesOf(
      { msg_type: "stream", content: Buffer.alloc(200, 0x20) },
      new Signer("a stranger's key"),
    );
    const before = await settled(room, speaker);
    const began = performance.now();
    const flood = (async () => {
      for (let i = 0; i < FLOOD; i += 1) {
        await speaker.sayFrames("iopub", frames);
      }
    })();
    let looks = 0;
    const over = new AbortController();
    void flood.then(() => over.abort());
    do {
      await beside.isUnhurt();
      looks += 1;
    } while (!over.signal.aborted);
    expect(looks).toBeGreaterThan(0);
    await speaker.say("iopub", {
      msg_type: "stream",
      content: Buffer.from('{"name":"stdout","text":"the truth"}'),
    });
    await expect.poll(() => lastOf(room), { timeout: 30_000 }).toBe(before + 1);
    const minutes = 1 + Math.floor((performance.now() - began) / 60_000);
    const lines = room.lines.filter(({ msg }) => msg.includes("refused"));
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.length).toBeLessThanOrEqual(minutes);
    expect(lines[0]).toMatchObject({ session: "liar", channel: "iopub" });
  });
});

const greeting = Buffer.from(
  `ff00000000000000017f0300${"4e554c4c".padEnd(40, "0")}${"0".repeat(64)}`,
  "hex",
);
const ready = (type: string): Buffer =>
  Buffer.from(
    `\x04${String.fromCharCode(22 + type.length)}\x05READY\x0bSocket-Type\0\0\0${String.fromCharCode(type.length)}${type}`,
    "latin1",
  );

/** The bytes of the peer, in order: a part of the correct bytes, then random ones. */
const handshakes: fc.Arbitrary<Uint8Array[]> = fc
  .tuple(
    fc.constantFrom<Uint8Array[]>(
      [],
      [greeting.subarray(0, 10)],
      [greeting.subarray(0, 11)],
      [greeting.subarray(0, 40)],
      [greeting],
      [greeting, ready("ROUTER").subarray(0, 12)],
      [greeting, ready("ROUTER")],
      [greeting, ready("XPUB")],
      [greeting, ready("PULL")],
      [greeting, ready("ROUTER"), Buffer.from("\x01\x03abc", "latin1")],
      [greeting, ready("XPUB"), Buffer.from("\x01\x03abc", "latin1")],
    ),
    fc.oneof(
      fc.uint8Array({ maxLength: 2_000 }),
      fc.constantFrom(
        Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"),
        Buffer.alloc(200_000),
        Buffer.alloc(200_000, 0xff),
        Buffer.from("\x01\x00".repeat(100_000), "latin1"),
        Buffer.from("\x04\x05\x04PING".repeat(50_000), "latin1"),
        Buffer.from("\x02\0\0\0\0\x7f\xff\xff\xff", "latin1"),
        Buffer.from("\x02\x7f\xff\xff\xff\xff\xff\xff\xff", "latin1"),
        Buffer.from("\x06\0\0\0\0\x7f\xff\xff\xff", "latin1"),
        Buffer.from("\x04\x0d\x05ERROR\x06go off", "latin1"),
      ),
    ),
  )
  .map(([truth, noise]) => [...truth, noise]);

/** A server that sends this to every client. */
async function listening(
  script: readonly Uint8Array[],
): Promise<{ port: number; close: () => void }> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}).resume();
    for (const bytes of script) socket.write(bytes);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = (): void => {
    server.close();
    for (const socket of sockets) socket.destroy();
  };
  onTestFinished(close);
  return { port: (server.address() as AddressInfo).port, close };
}

/** Repeats with another seed until the time is up, at least once; resolves with the sum. */
async function until(
  seconds: number,
  act: (seed: number) => Promise<number>,
): Promise<number> {
  const end = performance.now() + seconds * 1_000;
  let sum = 0;
  for (let seed = SEED; sum === 0 || performance.now() < end; seed += 1) {
    try {
      sum += await act(seed);
    } catch (cause) {
      throw new Error(`With HOSTILE_SEED=${seed}`, { cause });
    }
  }
  return sum;
}

/** Sends a correct message, and resolves with its number when it is in the journal. */
async function settled(room: Room, speaker: Speaker): Promise<number> {
  const text = `the truth ${crypto.randomUUID()}`;
  const msg_id = crypto.randomUUID();
  const content = JSON.stringify({ name: "stdout", text });
  await speaker.say("iopub", {
    msg_type: "stream",
    header: Buffer.from(JSON.stringify({ msg_id, msg_type: "stream" })),
    content: Buffer.from(content),
  });
  return numberOf(room, speaker.session_id, text);
}

/** The number of that text in the journal. */
async function numberOf(
  room: Room,
  session_id: string,
  text: string,
): Promise<number> {
  const response = await fetch(`${room.url}/sessions/${session_id}/events`, {
    headers: { authorization: `Bearer ${TOKEN}` },
    signal: AbortSignal.timeout(30_000),
  });
  let read = "";
  for await (const bytes of response.body ?? []) {
    read += Buffer.from(bytes as Uint8Array).toString("latin1");
    const at = read.indexOf(text);
    if (at === -1 || !read.includes("\n", at)) {
      read = read.slice(Math.max(0, read.lastIndexOf("\nid:")));
      continue;
    }
    const id = read.lastIndexOf("id:", at);
    return Number(/\d+(?=\n)/.exec(read.slice(id))?.[0]);
  }
  throw new Error(`${text} was never received`);
}

async function lastOf(room: Room): Promise<number> {
  const { body } = await room.ask("GET", "/sessions/liar");
  return Number((body as { last_seq: unknown }).last_seq);
}

/** Sends code to the liar, which never runs it; resolves with the header that wrong messages have as their parent. */
async function begin(room: Room, { session_id }: Speaker): Promise<string> {
  const header = { msg_id: crypto.randomUUID(), msg_type: "execute_request" };
  const sent = await room.ask("POST", `/sessions/${session_id}/messages`, {
    channel: "shell",
    header,
    content: { code: "lie" },
    buffers: [],
  });
  expect(sent.status).toBe(202);
  return JSON.stringify(header);
}
