import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { SupervisorError } from "../../contract/index.ts";
import { fromClientText } from "../../src/jupyter/client-message.ts";
import { membersOf } from "../../src/jupyter/json-members.ts";
import { BadText } from "../../src/jupyter/json-text.ts";

const defaults = { session: "s", username: "u", version: "5.3" };
const whole = {
  channel: "shell",
  header: { msg_id: "1", msg_type: "execute_request" },
  parent_header: null,
  metadata: {},
  content: {},
  buffers: [],
};

describe("the members of an object", () => {
  test("are those that JSON.parse finds, for any object and any white space", () => {
    fc.assert(
      fc.property(
        fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue()),
        fc.constantFrom(undefined, 1, "\t", " \n"),
        (object, space) => {
          const text = Buffer.from(JSON.stringify(object, null, space));
          const parsed = JSON.parse(text.toString()) as Record<string, unknown>;
          const members = membersOf(text);
          expect([...members.keys()].toSorted()).toEqual(
            Object.keys(parsed).toSorted(),
          );
          for (const [name, bytes] of members) {
            expect(JSON.parse(bytes.toString())).toEqual(parsed[name]);
          }
        },
      ),
    );
  });

  test.each([
    "",
    "[]",
    "{",
    '{"a"',
    '{"a":',
    '{"a":1',
    '{"a":1,}',
    "{a:1}",
    '{"a":1}x',
    '{"a":"',
    "null",
    '{"a":[1}',
  ])("%j is not an object", (text) => {
    const read = () => {
      for (const bytes of membersOf(Buffer.from(text)).values()) {
        JSON.parse(bytes.toString());
      }
    };
    expect(read).toThrow();
  });

  test("random bytes end in an error, and never in an endless loop", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
        try {
          membersOf(Buffer.from(bytes));
        } catch (error) {
          expect(error).toBeInstanceOf(BadText);
        }
      }),
    );
  });
});

describe("a client's message", () => {
  test("keeps the bytes of content and metadata", () => {
    const content = '{"z":9007199254740993,  "a":1e400,"a2":"\\u00e9"}';
    const message = fromClientText(
      Buffer.from(
        `{"channel":"shell","header":{"msg_id":"1","msg_type":"x"},"content":${content},"metadata":{"b":1,"a":2},"buffers":[]}`,
      ),
      defaults,
    );
    expect(Buffer.from(message.raw.content).toString()).toBe(content);
    expect(Buffer.from(message.raw.metadata).toString()).toBe('{"b":1,"a":2}');
  });

  test("keeps the bytes of a complete header", () => {
    const header =
      '{"username":"x","msg_id":"1", "msg_type":"t","session":"y","date":"d","version":"5.4","more":1}';
    const message = fromClientText(
      Buffer.from(`{"channel":"control","header":${header},"content":{}}`),
      defaults,
    );
    expect(Buffer.from(message.raw.header).toString()).toBe(header);
  });

  test("gets the missing fields of its header", () => {
    const message = fromClientText(text({}), defaults);
    expect(
      JSON.parse(Buffer.from(message.raw.header).toString()),
    ).toMatchObject({
      ...defaults,
      msg_id: "1",
    });
  });

  test("needs no kind, no buffers and no parent", () => {
    const { buffers, parent_header, ...rest } = whole;
    expect([buffers, parent_header]).toEqual([[], null]);
    const message = fromClientText(Buffer.from(JSON.stringify(rest)), defaults);
    expect(message.buffers).toEqual([]);
    expect(message.parent_header).toBeUndefined();
  });

  test.each([
    ["not JSON", "hello"],
    ["not an object", "[1]"],
    ["no channel", text({ channel: undefined })],
    ["a channel that only kernels send on", text({ channel: "iopub" })],
    ["no header", text({ header: undefined })],
    ["a header without msg_id", text({ header: { msg_type: "x" } })],
    ["content that is not an object", text({ content: 3 })],
    ["no content", text({ content: undefined })],
    [
      "content that is not JSON",
      '{"channel":"shell","header":{"msg_id":"1","msg_type":"x"},"content":{"a":nope},"buffers":[]}',
    ],
    ["a buffer that is not base64", text({ buffers: ["@@@@"] })],
    ["a buffer without padding", text({ buffers: ["AAA"] })],
    ["buffers that are not a list", text({ buffers: "AAAA" })],
  ])("is refused if it has %s; the error contains none of it", (_, bytes) => {
    const refused = () => fromClientText(Buffer.from(bytes), defaults);
    expect(refused).toThrow(SupervisorError);
    expect(refused).toThrow(/was not sent to the kernel/);
  });
});

function text(changes: Record<string, unknown>): Buffer {
  return Buffer.from(JSON.stringify({ ...whole, ...changes }));
}
