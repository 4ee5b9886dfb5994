/** Frames of Jupyter's two WebSocket protocols, with buffers, compared with literal bytes. */
import { describe, expect, test } from "vitest";
import {
  binaryProtocol,
  defaultProtocol,
  type KernelProtocol,
} from "../../src/server/doors/jupyter/frames.ts";
import { payloadsIn } from "../../src/jupyter/websocket-frame.ts";
import { compose, type Message } from "../../src/jupyter/message.ts";

const defaults = { session: "s", username: "u", version: "5.3" };

function message(buffers: readonly Uint8Array[], text = "a"): Message {
  return compose({
    channel: "shell",
    msg_type: "comm_msg",
    msg_id: "m",
    session: "s",
    username: "u",
    date: "2026-01-02T03:04:05.678Z",
    content: { text },
    buffers,
  });
}

function payloadOf(protocol: KernelProtocol, sent: Message): Buffer {
  const { channel, header, raw, buffers } = sent;
  const { msg_id, msg_type } = header;
  const frames = protocol.encode({ channel, msg_id, msg_type, raw, buffers });
  const [payload = Buffer.alloc(0), ...rest] = payloadsIn(
    Buffer.concat(frames),
  );
  expect(rest).toEqual([]);
  return payload;
}

function decoded(
  protocol: KernelProtocol,
  payload: Buffer,
  isBinary: boolean,
): Message {
  const steps = protocol.decode(payload, isBinary, defaults);
  for (;;) {
    const { done, value } = steps.next();
    if (done === true) return value;
  }
}

test("v1 without buffers has six offsets, little endian, the last of which is the end", () => {
  const payload = payloadOf(binaryProtocol, message([]));
  const header =
    '{"msg_id":"m","msg_type":"comm_msg","session":"s","username":"u","date":"2026-01-02T03:04:05.678Z","version":"5.3"}';
  const content = 61 + header.length + 4;
  const offsets = [
    56,
    61,
    61 + header.length,
    content - 2,
    content,
    content + 12,
  ];
  const head = Buffer.alloc(56);
  for (const [index, word] of [6, ...offsets].entries()) {
    head.writeBigUInt64LE(BigInt(word), 8 * index);
  }
  const text = `shell${header}{}{}{"text":"a"}`;
  expect(payload).toEqual(Buffer.concat([head, Buffer.from(text)]));
});

test("the default protocol with a buffer is big endian, and the JSON comes first", () => {
  const payload = payloadOf(defaultProtocol, message([Buffer.from([1, 2, 3])]));
  expect(payload.readUInt32BE(0)).toBe(2);
  expect(payload.readUInt32BE(4)).toBe(12);
  const end = payload.readUInt32BE(8);
  expect(payload.subarray(end)).toEqual(Buffer.from([1, 2, 3]));
  const text = payload.subarray(12, end).toString();
  expect(JSON.parse(text)).toMatchObject({
    channel: "shell",
    msg_id: "m",
    msg_type: "comm_msg",
    parent_header: {},
    content: { text: "a" },
    buffers: [],
  });
});

describe.each([
  ["v1", binaryProtocol],
  ["the default protocol", defaultProtocol],
])("%s", (_, protocol) => {
  test.each([
    ["none", []],
    ["one", [Buffer.from("x")]],
    ["two, one of them empty", [Buffer.alloc(0), Buffer.from([0, 255])]],
    ["a large one", [Buffer.alloc(3_000_000, 7)]],
  ])("comes back as it was sent: buffers: %s", (_title, buffers) => {
    const sent = message(buffers, "ü€𝄞");
    const payload = payloadOf(protocol, sent);
    const isBinary = protocol === binaryProtocol || buffers.length > 0;
    const received = decoded(protocol, payload, isBinary);
    expect(received.channel).toBe("shell");
    expect(received.header).toEqual(sent.header);
    expect(String(received.raw.content)).toBe(String(sent.raw.content));
    expect(received.buffers).toHaveLength(buffers.length);
    for (const [index, bytes] of received.buffers.entries()) {
      expect(buffers[index]?.equals(bytes)).toBe(true); // `toEqual` takes minutes for megabytes
    }
  });

  test("a date in seconds and a missing channel, as gateways send them, are corrected", () => {
    const header = { msg_id: "m", msg_type: "comm_msg", date: 1.5 };
    const text = JSON.stringify({ header, content: {}, metadata: {} });
    const received = decoded(protocol, Buffer.from(text), false);
    expect(received.channel).toBe("shell");
    expect(received.header.date).toMatch(/^\d{4}-/);
    expect(received.header.session).toBe("s");
  });

  test.each([
    ["nothing", Buffer.alloc(0)],
    ["a head that is cut off", Buffer.from([0, 0, 0, 9, 6])],
    ["a part that begins in its head", partInHead()],
    ["a count of 2^32", Buffer.alloc(64, 0xff)],
  ])("refuses %s with a reason", (_title, payload) => {
    expect(() => decoded(protocol, payload, true)).toThrow(
      /A frame is not a message: /,
    );
  });
});

/** Two parts. The first begins at the last byte of the head, which is a space. */
function partInHead(): Buffer {
  const header = { msg_id: "m", msg_type: "comm_msg" };
  const text = JSON.stringify({ header, content: {}, metadata: {} });
  const end = 0x120;
  const head = Buffer.alloc(12);
  for (const [index, word] of [2, head.length - 1, end].entries()) {
    head.writeUInt32BE(word, 4 * index);
  }
  return Buffer.concat([head, Buffer.from(text.padEnd(end - head.length))]);
}
