import { expect, test } from "vitest";
import {
  asWritten,
  membersAsWritten,
  RawJson,
  stringify,
} from "../../src/jupyter/raw-json.ts";

const BIG =
  '{"z":9007199254740993, "__proto__":[1e400], "1":1.0, "a":"\\ud8ff"}';

test("raw JSON is encoded as its own bytes, at any place", () => {
  const raw = new RawJson(Buffer.from(BIG));
  expect(stringify({ a: [raw, "x", raw], b: raw })).toBe(
    `{"a":[${BIG},"x",${BIG}],"b":${BIG}}`,
  );
  expect(stringify(raw)).toBe(BIG);
  expect(stringify({ a: 1 })).toBe('{"a":1}');
});

test("other encoders encode the parsed value", () => {
  const raw = new RawJson(Buffer.from('{"a":[1,null]}'));
  expect(JSON.stringify({ raw })).toBe('{"raw":{"a":[1,null]}}');
});

test("replacement patterns in the bytes have no effect", () => {
  const raw = new RawJson(Buffer.from('"$& $1 $$"'));
  expect(stringify([raw])).toBe('["$& $1 $$"]');
});

test("strings and words are parsed; numbers, lists and objects stay raw", () => {
  expect(asWritten(Buffer.from('"a\\n"'))).toBe("a\n");
  expect(asWritten(Buffer.from("null"))).toBeNull();
  expect(asWritten(Buffer.from("false"))).toBe(false);
  const members = membersAsWritten(Buffer.from(` ${BIG}`));
  expect(stringify(members)).toBe(
    '{"1":1.0,"z":9007199254740993,"__proto__":[1e400],"a":"\\ud8ff"}',
  );
  for (const other of ["null", "[]", '"{}"', "5", ""]) {
    expect(membersAsWritten(Buffer.from(other))).toEqual({});
  }
});
