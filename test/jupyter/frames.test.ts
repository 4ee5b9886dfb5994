import { createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FramesRefused } from "../../src/jupyter/admission.ts";
import { FrameReader, Signer, toFrames } from "../../src/jupyter/frames.ts";
import { compose, contentOf, type Message } from "../../src/jupyter/message.ts";

interface Golden {
  readonly scheme: string;
  readonly key: string;
  readonly msg_type: string;
  readonly frames: readonly string[];
  readonly buffers: readonly string[];
}

/** Written by jupyter_client. */
const golden = (
  JSON.parse(readFileSync(new URL("golden.json", import.meta.url), "utf8")) as {
    messages: Golden[];
  }
).messages;

test.each([
  { size: 0, key: "k" },
  { size: 300, key: "a key as long as those of connection files" },
  { size: 300, key: "é".repeat(100) }, // longer than a block
  { size: 16 * 1024 - 6, key: "the largest that is signed in one go" },
  { size: 16 * 1024 - 5, key: "one byte more" },
  { size: 300_000, key: "large" },
])("$size bytes are signed as HMAC defines", ({ size, key }) => {
  const raw = {
    header: Buffer.from("{}"),
    parent_header: Buffer.from("{}"),
    metadata: Buffer.from("{}"),
    content: Buffer.alloc(size, "0123456789"),
  };
  for (let time = 0; time < 2; time += 1) {
    const expected = createHmac("sha256", key)
      .update(Buffer.concat(Object.values(raw)))
      .digest("hex");
    expect(Buffer.from(new Signer(key).sign(raw)).toString()).toBe(expected);
    raw.content.fill("x");
  }
});

describe("frames of another implementation", () => {
  test.each(golden)("$msg_type, signed with $scheme, is read", (message) => {
    const frames = message.frames.map((frame) => Buffer.from(frame, "base64"));
    const reader = new FrameReader(new Signer(message.key, message.scheme));
    const read = reader.read(frames, "shell");
    expect(read.header).toMatchObject({
      msg_type: message.msg_type,
      session: "the-session",
      username: "tester",
    });
    expect(
      read.buffers.map((buffer) => Buffer.from(buffer).toString("base64")),
    ).toEqual(message.buffers);
  });

  test.each(golden)(
    "$msg_type, signed with $scheme, is written to the same bytes",
    (message) => {
      const frames = message.frames.map((frame) =>
        Buffer.from(frame, "base64"),
      );
      const signer = new Signer(message.key, message.scheme);
      const read = new FrameReader(signer).read(frames, "shell");
      expect(toFrames(read, signer).map((frame) => Buffer.from(frame))).toEqual(
        frames,
      );
    },
  );

  test.each(golden.filter(({ key }) => key !== ""))(
    "$msg_type, signed with $scheme, is refused if one byte of it differs",
    (message) => {
      const frames = message.frames.map((frame) =>
        Buffer.from(frame, "base64"),
      );
      const content = frames[5];
      if (content === undefined) throw new Error("no content frame");
      content[0] = 0x5b;
      const reader = new FrameReader(new Signer(message.key, message.scheme));
      expect(() => reader.read(frames, "shell")).toThrow(FramesRefused);
    },
  );
});

describe("frames that are not a message are refused", () => {
  const signer = new Signer("key");
  const good = toFrames(draft({}), signer);
  test.each([
    ["nothing", []],
    ["no delimiter", good.slice(1)],
    ["too few frames", good.slice(0, 5)],
    ["an empty signature", [good[0], Buffer.alloc(0), ...good.slice(2)]],
    ["another key's signature", toFrames(draft({}), new Signer("other"))],
  ])("%s", (_, frames) => {
    expect(() =>
      new FrameReader(signer).read(frames as Uint8Array[], "iopub"),
    ).toThrow(FramesRefused);
  });

  test("except with an empty key, which turns signatures off", () => {
    const reader = new FrameReader(new Signer(""));
    expect(
      reader.read(toFrames(draft({}), signer), "iopub").header.msg_type,
    ).toBe("stream");
  });

  test("a signature scheme that does not exist", () => {
    expect(() => new Signer("key", "sha256")).toThrow(RangeError);
    expect(() => new Signer("key", "hmac-nothing")).toThrow();
  });
});

test("a message stays the same as frames and back, with any content, buffers and identities", () => {
  const signer = new Signer("key");
  const reader = new FrameReader(signer);
  fc.assert(
    fc.property(
      fc.jsonValue(),
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 4 }),
      fc.array(fc.uint8Array({ minLength: 1, maxLength: 20 }), {
        maxLength: 3,
      }),
      (content, buffers, identities) => {
        const message = draft({ content: { value: content }, buffers });
        const read = reader.read(
          toFrames(message, signer, identities),
          "iopub",
        );
        expect(contentOf(read)).toEqual(
          JSON.parse(JSON.stringify({ value: content })),
        );
        expect(read.header).toEqual(message.header);
        expect(read.buffers.map((buffer) => Buffer.from(buffer))).toEqual(
          buffers.map((buffer) => Buffer.from(buffer)),
        );
        expect(read.identities).toHaveLength(identities.length);
      },
    ),
  );
});

test("a parent header is parsed once and remembered, also if its bytes are reused", () => {
  const signer = new Signer("key");
  const reader = new FrameReader(signer);
  const request = draft({});
  const frames = toFrames(draft({ parent: request }), signer).map((frame) =>
    Buffer.from(frame),
  );
  const first = reader.read(frames, "iopub");
  const again = reader.read(
    toFrames(draft({ parent: request }), signer),
    "iopub",
  );
  frames[3]?.fill(0);
  const third = reader.read(
    toFrames(draft({ parent: request }), signer),
    "iopub",
  );
  expect(again.parent_header).toBe(first.parent_header);
  expect(third.parent_header).toEqual(request.header);
});

function draft(more: {
  content?: unknown;
  buffers?: readonly Uint8Array[];
  parent?: Message;
}): Message {
  return compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stdout", text: "" },
    session: "s",
    username: "u",
    ...more,
  });
}
