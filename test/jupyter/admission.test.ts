/** Frames that are admitted are JSON, for any data of a kernel, and otherwise unchanged. */
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  type Repair,
  MESSAGE_TEXT_LIMIT,
  FramesRefused,
} from "../../src/jupyter/admission.ts";
import { FrameReader, Signer, toFrames } from "../../src/jupyter/frames.ts";
import { compose, type RawFrames, sizeOf } from "../../src/jupyter/message.ts";
import { Entry } from "../../src/journal/entry.ts";

const signer = new Signer("a key");
const request = compose({
  channel: "shell",
  msg_type: "execute_request",
  content: { code: "1" },
  session: "s",
  username: "u",
});
const message = compose({
  channel: "iopub",
  msg_type: "display_data",
  content: {},
  session: "s",
  username: "u",
  parent: request,
});

/** Frames of a peer that has the key. */
function arrives(
  changed: Partial<Record<keyof RawFrames, string | Uint8Array>>,
  buffers: readonly Uint8Array[] = [],
) {
  const mends: Repair[] = [];
  const given = Object.entries(changed).map(([name, bytes]) => [
    name,
    Buffer.from(bytes),
  ]);
  const raw = {
    ...message.raw,
    ...(Object.fromEntries(given) as Partial<RawFrames>),
  };
  const reader = new FrameReader(signer, (what) => mends.push(what));
  const read = () => reader.read(toFrames({ raw, buffers }, signer), "iopub");
  return { read, mends };
}

function contentOf(bytes: string | Uint8Array): string {
  return Buffer.from(arrives({ content: bytes }).read().raw.content).toString();
}

function refusalOf(read: () => unknown) {
  try {
    read();
  } catch (error) {
    if (error instanceof FramesRefused && error.refusal) return error.refusal;
    throw error;
  }
  throw new Error("It was admitted");
}

describe("content", () => {
  it.each([
    '{"z":9007199254740993,"a":1.0,"z":2,"__proto__":[],"b":"\\ud8ff"}',
    ' {\n\t"a" : [ ] }\r\n',
    "null",
    "[]",
    '"text"',
    "5",
  ])("that is JSON stays unchanged: %j", (text) => {
    expect(contentOf(text)).toBe(text);
  });

  it.each([
    ["NaN", "null"],
    ["[NaN,-Infinity,Infinity , 1]", "[null,null,null , 1]"],
    [
      '{"NaN":"-Infinity \\" NaN","a":-Infinity,"b":"\\\\"}',
      '{"NaN":"-Infinity \\" NaN","a":null,"b":"\\\\"}',
    ],
    ['{"x":[NaN,{"y":NaN}]}', '{"x":[null,{"y":null}]}'],
  ])(
    "has null in place of a value that is not a number: %s",
    (sent, reported) => {
      const { read, mends } = arrives({ content: sent });
      expect(Buffer.from(read().raw.content).toString()).toBe(reported);
      expect(mends).toEqual(["NaN or Infinity"]);
    },
  );

  it("has null exactly where a lenient JSON reader finds NaN", () => {
    const value = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constantFrom(NaN, Infinity, -Infinity, 0, -1.5),
        fc.string(),
        fc.array(tie("value")),
        fc.dictionary(fc.string(), tie("value")),
      ),
    })).value;
    fc.assert(
      fc.property(value, (wanted) => {
        expect(JSON.parse(contentOf(asPython(wanted)))).toEqual(
          JSON.parse(JSON.stringify(wanted)),
        );
      }),
      { numRuns: 2_000 },
    );
  });

  it("loses one byte order mark before it", () => {
    const { read, mends } = arrives({ content: '\ufeff{"a":"\ufeff"}' });
    expect(Buffer.from(read().raw.content).toString()).toBe('{"a":"\ufeff"}');
    expect(mends).toEqual(["a byte order mark"]);
  });

  it("has U+FFFD in place of bytes that are not UTF-8, also together with other repairs", () => {
    const bytes = Buffer.concat([
      Buffer.from('\ufeff{"a":NaN,"b":"'),
      Buffer.from([0xff, 0x41]),
      Buffer.from('"}'),
    ]);
    const { read, mends } = arrives({ content: bytes });
    expect(Buffer.from(read().raw.content).toString()).toBe(
      '{"a":null,"b":"\ufffdA"}',
    );
    expect(mends).toEqual([
      "not UTF-8",
      "a byte order mark",
      "NaN or Infinity",
    ]);
  });

  it.each([
    "",
    " ",
    "{nope",
    '{},"kind":"kernel","exited":0,"x":{}',
    "{}{}",
    "\ufeff",
    "\ufeff\ufeff{}",
    "-NaN",
    "undefined",
  ])("that is not one JSON value is refused: %j", (text) => {
    expect(refusalOf(arrives({ content: text }).read)).toMatchObject({
      channel: "iopub",
      msg_type: "display_data",
      reason: "not_json",
      parent: { header: request.header },
    });
  });

  it("that is nested too deep is refused; at the limit it is accepted", () => {
    const nested = (n: number) => "[".repeat(n) + "]".repeat(n);
    const deep = arrives({ content: nested(200_000) }).read;
    expect(refusalOf(deep).reason).toBe("too_deep");
    expect(contentOf(nested(1_000))).toBe(nested(1_000));
  });
});

describe("a message that is too large for the process", () => {
  const room = MESSAGE_TEXT_LIMIT - sizeOf({ raw: message.raw, buffers: [] });
  /** As base64, which is padded, it fills the room. Nothing reads its bytes, so they take no memory. */
  const filling = new Uint8Array(Math.floor(room / 4) * 3 - 2);

  it("is refused, because of its content or its buffers", () => {
    const { content } = arrives({}, [filling]).read().raw;
    expect(Buffer.from(content).toString()).toBe("{}");
    const more = '{"a":0}';
    const size = MESSAGE_TEXT_LIMIT - room + more.length - 2 + filling.length;
    expect(refusalOf(arrives({ content: more }, [filling]).read)).toMatchObject(
      { reason: "too_large", size },
    );
    const buffers = [filling, new Uint8Array(4)];
    expect(refusalOf(arrives({}, buffers).read).reason).toBe("too_large");
  });

  it("is refused if only its repaired content is too large", () => {
    // Each byte that is not UTF-8 becomes three.
    const content = Buffer.alloc(10, 0xff);
    content[0] = content[9] = 0x22;
    expect(arrives({ content }, [filling.subarray(24)]).read()).toBeDefined();
    const { read, mends } = arrives({ content }, [filling.subarray(12)]);
    expect(refusalOf(read).reason).toBe("too_large");
    expect(mends).toEqual(["not UTF-8"]);
  });
});

describe("the other frames", () => {
  it("metadata that is not JSON is refused", () => {
    expect(refusalOf(arrives({ metadata: "{" }).read).reason).toBe("not_json");
  });

  it("a parent header that is not JSON is refused, and the refusal names no request", () => {
    const { read } = arrives({ parent_header: '{"msg_id":' });
    expect(refusalOf(read)).toMatchObject({
      reason: "not_json",
      parent: undefined,
    });
  });

  it("a parent header without msg_id counts as none", () => {
    const parents = ['{"msg_id":null}', "[1,2,3]", "[]", "", '"text"', "12345"];
    for (const parent_header of parents) {
      const read = arrives({ parent_header }).read();
      expect(read.parent_header).toBeUndefined();
      const { text } = Entry.of(1, read);
      expect(JSON.parse(text.toString())).toMatchObject({
        parent_header: null,
      });
    }
  });

  it.each(["", "{", "null", "[]", '{"msg_id":1,"msg_type":"x"}', "{}{}"])(
    "a header that is not valid drops the message: %j",
    (header) => {
      expect(arrives({ header }).read).toThrow(FramesRefused);
    },
  );

  it("headers are repaired too", () => {
    const header = '\ufeff{"msg_id":"a","msg_type":"b","took":NaN}';
    const { read, mends } = arrives({ header, parent_header: header });
    const { text } = Entry.of(1, read());
    expect(JSON.parse(text.toString())).toMatchObject({
      header: { msg_id: "a", took: null },
      parent_header: { msg_id: "a", took: null },
    });
    expect(mends).toHaveLength(4);
  });

  it("a header that is nested too deep drops the message", () => {
    const deep = "[".repeat(4_500) + "]".repeat(4_500);
    const header = `{"msg_id":"a","msg_type":"b","x":${deep}}`;
    expect(arrives({ header }).read).toThrow("too deep");
  });
});

test("no frame can change the fields around it", () => {
  const piece = fc.constantFrom(
    ...["{}", '"', ",", ":", "}", "]", "{", "[", "\\", "NaN", "\ufeff"],
    ...['"kind":"kernel"', '"seq":0', '"channel":"shell"', "null", "\n"],
  );
  const frame = fc.array(piece, { maxLength: 6 }).map((all) => all.join(""));
  fc.assert(
    fc.property(frame, frame, (metadata, content) => {
      let entry: Entry;
      try {
        entry = Entry.of(7, arrives({ metadata, content }).read());
      } catch (error) {
        expect(error).toBeInstanceOf(FramesRefused);
        return;
      }
      const reported = JSON.parse(entry.text.toString()) as object;
      expect(reported).toMatchObject({
        kind: "jupyter",
        seq: 7,
        channel: "iopub",
      });
      expect(Object.keys(reported)).toHaveLength(8);
    }),
    { numRuns: 5_000 },
  );
});

/** The encoding of Python's `json.dumps`. */
function asPython(value: unknown): string {
  if (typeof value === "number") return String(value);
  if (Array.isArray(value)) return `[${value.map(asPython).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).map(
    ([name, member]) => `${JSON.stringify(name)}: ${asPython(member)}`,
  );
  return `{${members.join(", ")}}`;
}
