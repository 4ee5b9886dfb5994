/** Which texts are one JSON value: the same for the walk in WebAssembly and the one in JavaScript. */
import { isUtf8 } from "node:buffer";
import fc from "fast-check";
import { describe, expect, it, test } from "vitest";
import {
  inWebAssembly,
  checkingJson,
  checkJson,
} from "../../src/jupyter/json-check.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";
import { DEEPEST, walk, walking } from "../../src/jupyter/json-walk.ts";

const wasm = inWebAssembly();
if (wasm === undefined) throw new Error("This Node has no WebAssembly");

const walks = [
  ["WebAssembly", wasm],
  ["JavaScript", walk],
] as const;

/** Bytes that fit into the memory of the WebAssembly. */
const PIECE = 65_536;

const JSON_TEXTS = [
  "{}",
  "[]",
  '""',
  "0",
  "-0",
  "1e5",
  "1E+05",
  "-12.50e-3",
  "12345678901234567890123",
  "true",
  " false ",
  "\t\r\nnull\n",
  '{"a":{"b":[1,2,{"c":null}]},"a":[]}',
  '"\\ud8ff"',
  '"\\u00e9\\n\\"\\\\\\/\\b\\f\\r\\t"',
  '"h\u00e9llo \u4e16\u754c \u{1f600}"',
  '"\u007f\u0080\u07ff\u0800\uffff\u{10000}\u{10ffff}"',
  "[ 1 , 2 ,\n3 ]",
  '{ "x" : 1 , "y" : 2 }',
];

const BROKEN_TEXTS = [
  "",
  " ",
  "{nope",
  "{",
  "[",
  '"',
  "[1,]",
  "[,1]",
  '{"a":1,}',
  '{"a" 1}',
  '{"a":}',
  "{1:2}",
  "{a:1}",
  '{"a":1 "b":2}',
  "[1 2]",
  "{]",
  "[}",
  "1 2",
  "{}{}",
  '{},"kind":"kernel","exited":0,"x":{}',
  "01",
  "-",
  "+1",
  ".5",
  "1.",
  "1.e5",
  "1e",
  "1e+",
  "--1",
  "tru",
  "True",
  "nul",
  "nulll",
  "undefined",
  "nan",
  "-NaN",
  "Inf",
  "Infinit",
  '"\\x41"',
  '"\\u00g0"',
  '"\\u12"',
  '"\\',
  '"a\nb"',
  '"a\u0000b"',
  "'a'",
  "/* */1",
  "\u00a01",
  "\ufeff{}",
];

const NOT_UTF8 = [
  "ff",
  "80",
  "c080",
  "c1bf",
  "c3",
  "c328",
  "e09f80",
  "e282",
  "eda080",
  "f08f8080",
  "f09f98",
  "f4908080",
  "f888808080",
];

describe.each(walks)("the walk in %s", (_, by) => {
  const result = (bytes: Uint8Array) => checkJson(bytes, by);
  const of = (text: string) => result(Buffer.from(text));

  it.each(JSON_TEXTS)("accepts %j", (text) => {
    expect(of(text)).toBe("json");
  });

  it.each(BROKEN_TEXTS)("refuses %j", (text) => {
    expect(of(text)).toBe("not_json");
  });

  it.each(["NaN", "[NaN]", '{"a":Infinity}', "[1,-Infinity,2]", " NaN "])(
    "distinguishes JSON with %j",
    (text) => {
      expect(of(text)).toBe("non_finite");
    },
  );

  it.each(NOT_UTF8)("finds bytes that are not UTF-8: %s", (hex) => {
    const bytes = Buffer.from(hex, "hex");
    const quote = Buffer.from('"');
    for (const length of [0, 1, 40]) {
      const around = Buffer.alloc(length, "a");
      const text = Buffer.concat([quote, around, bytes, around, quote]);
      expect(result(text)).toBe("not_utf8");
    }
    expect(result(Buffer.concat([quote, bytes]))).toBe("not_utf8");
  });

  it("limits the depth of arrays and of objects", () => {
    const arrays = (n: number) => "[".repeat(n) + "]".repeat(n);
    const objects = (n: number) =>
      `${'{"a":'.repeat(n - 1)}{}${"}".repeat(n - 1)}`;
    for (const nested of [arrays, objects]) {
      expect(of(nested(DEEPEST))).toBe("json");
      expect(of(nested(DEEPEST + 1))).toBe("too_deep");
      expect(of(nested(200_000))).toBe("too_deep");
    }
  });

  it("agrees with JSON.parse for any text", () => {
    fc.assert(
      fc.property(mutated, (bytes) => {
        expect(result(bytes) === "json").toBe(isJson(bytes));
      }),
      { numRuns: 10_000 },
    );
  });

  it("has the same result for a long text in any pieces", () => {
    const tail = Buffer.from(
      '",-12.50e-3,"\\ud8ff\\n\u00e9\u4e16\u{1f600}",true,false,null,NaN,-Infinity,{"\u00e9\\"":0}]',
    );
    for (let before = 0; before <= tail.length; before += 1) {
      const filler = Buffer.alloc(PIECE - 2 - before, "a");
      const text = Buffer.concat([Buffer.from('["'), filler, tail]);
      expect(result(text)).toBe("non_finite");
      expect(result(text.subarray(0, -1))).toBe("not_json");
    }
  });

  it("accepts numbers and strings that are longer than a piece", () => {
    const digits = "1".repeat(3 * PIECE);
    expect(of(`[${digits}.${digits}e-${digits}]`)).toBe("json");
    expect(of(`[${digits}.${digits}e-]`)).toBe("not_json");
    expect(of(`{"${"\u00e9".repeat(PIECE)}":"${"\\n".repeat(PIECE)}"}`)).toBe(
      "json",
    );
    expect(of(" ".repeat(3 * PIECE))).toBe("not_json");
    expect(of(`${" ".repeat(PIECE)}1${" ".repeat(PIECE)}`)).toBe("json");
  });

  it("starts anew with each text", () => {
    for (const text of ["[[[[", '{"a":', '"\\u12', "NaN", "[1,2", "-"]) {
      of(text);
      expect(of("[1]")).toBe("json");
      expect(of("]")).toBe("not_json");
    }
  });
});

it("both walks have the same result for any bytes", () => {
  fc.assert(
    fc.property(mutated, (bytes) => {
      expect(checkJson(bytes, wasm)).toBe(checkJson(bytes, walk));
    }),
    { numRuns: 10_000 },
  );
});

it("checks a text of many pieces without growing its memory", () => {
  const text = Buffer.concat([
    Buffer.from('{"data":"'),
    Buffer.alloc(50_000_000, "QUJD"),
    Buffer.from('"}'),
  ]);
  expect(checkJson(text)).toBe("json");
  expect(checkJson(text.subarray(0, -1))).toBe("not_json");
});

/** Whether JSON.parse accepts it, and it is UTF-8. */
function isJson(bytes: Uint8Array): boolean {
  if (!isUtf8(bytes)) return false;
  try {
    JSON.parse(Buffer.from(bytes).toString());
    return true;
  } catch {
    return false;
  }
}

const token = fc.constantFrom(
  ...Array.from('{}[]:,"\\ -+.0123456789eEunNtfaI\n\u00e9\u{1f600}'),
  ...['"a"', "true", "false", "null", "NaN", "-Infinity", "\\u00e9", "1.5e3"],
  ...["\u0000", "\u001f", "\ufeff"],
);

/** JSON texts with some of their bytes changed, and texts made of pieces of JSON. */
const mutated: fc.Arbitrary<Uint8Array> = fc.oneof(
  fc
    .tuple(
      fc.oneof(
        fc.json({ depthSize: "small" }),
        fc.json({ noUnicodeString: false }),
      ),
      fc.array(fc.tuple(fc.nat(), fc.oneof(token, fc.constant(""))), {
        maxLength: 2,
      }),
    )
    .map(([json, changes]) => {
      let text = json;
      for (const [place, piece] of changes) {
        const at = place % (text.length + 1);
        const keeps = place % 2;
        text = text.slice(0, at) + piece + text.slice(at + keeps);
      }
      return Buffer.from(text);
    }),
  fc
    .array(token, { maxLength: 12 })
    .map((pieces) => Buffer.from(pieces.join(""))),
  fc
    .tuple(fc.json(), fc.nat(), fc.integer({ min: 0, max: 255 }))
    .map(([json, place, byte]) => {
      const bytes = Buffer.from(json);
      bytes[place % bytes.length] = byte;
      return bytes;
    }),
);

test("the result is the same in short steps, also for several texts at the same time", () => {
  const text = (item: string) => `[${`${item},`.repeat(100_000)}0]`;
  const wide = Buffer.from(text('"h\u00e9 \u4e16 \u{1f600}"'));
  const texts = [
    Buffer.from(text('{"a":[1.5e3,"\\"b"]}')),
    Buffer.from(text("NaN")),
    wide,
    wide.subarray(0, -1),
    Buffer.concat([wide, Buffer.from([0xe4, 0xb8])]),
    Buffer.from("[".repeat(1_000_000)),
    Buffer.alloc(1_000_000, 0x80),
    Buffer.from("{}"),
    Buffer.alloc(0),
  ];
  const begun = texts.map((bytes) => ({ bytes, work: checkingJson(bytes) }));
  const results = new Map<Buffer, unknown>();
  while (results.size < texts.length) {
    for (const { bytes, work } of begun) {
      if (results.has(bytes)) continue;
      const step = work.next();
      if (step.done === true) results.set(bytes, step.value);
    }
  }
  for (const bytes of texts) {
    expect(results.get(bytes)).toBe(checkJson(bytes));
    expect(runAtOnce(walking(bytes))).toBe(walk(bytes));
  }
});
