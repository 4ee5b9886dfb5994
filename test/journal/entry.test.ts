import fc from "fast-check";
import { expect, test } from "vitest";
import { compose } from "../../src/jupyter/message.ts";
import { Entry } from "../../src/journal/entry.ts";

const draft = {
  channel: "iopub",
  msg_type: "stream",
  content: { name: "stdout", text: "hi" },
  session: "s",
  username: "u",
} as const;

test("a message's text is the JSON that clients parse, with any content", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()),
      fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 3 }),
      fc.boolean(),
      (content, buffers, hasParent) => {
        const parent = hasParent ? compose(draft) : undefined;
        const message = compose({ ...draft, content, buffers, parent });
        const entry = Entry.of(7, message);
        expect(JSON.parse(entry.text.toString())).toEqual({
          kind: "jupyter",
          seq: 7,
          channel: "iopub",
          header: message.header,
          parent_header: parent?.header ?? null,
          metadata: {},
          content: JSON.parse(JSON.stringify(content)) as unknown,
          buffers: buffers.map((buffer) =>
            Buffer.from(buffer).toString("base64"),
          ),
        });
      },
    ),
  );
});

test("the frames are the kernel's bytes", () => {
  const content = Buffer.from('{"z":9007199254740993, "a":"\\ud8ff", "z":1e0}');
  const message = compose(draft);
  const entry = Entry.of(1, {
    ...message,
    raw: { ...message.raw, content },
  });
  expect(entry.raw.content).toEqual(content);
  expect(entry.raw.header).toEqual(Buffer.from(message.raw.header));
  expect(entry.raw.parent_header.toString()).toBe("{}");
});

test("an entry does not keep the memory from which it was read", () => {
  const slab = Buffer.from('{"text":"first"}');
  const buffer = Buffer.from("buffer");
  const message = compose({ ...draft, buffers: [buffer] });
  const entry = Entry.of(1, {
    ...message,
    raw: { ...message.raw, content: slab },
  });
  slab.fill(0x20);
  buffer.fill(0x20);
  expect(entry.content).toEqual({ text: "first" });
  expect(entry.buffers[0]?.toString()).toBe("buffer");
});

test("an event has its number", () => {
  const entry = Entry.ofEvent(3, {
    kind: "status",
    status: "idle",
    reason: null,
  });
  expect(JSON.parse(entry.text.toString())).toEqual({
    kind: "status",
    status: "idle",
    reason: null,
    seq: 3,
  });
});
