import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BadText,
  jsonText,
  type TextBounds,
} from "../../src/jupyter/json-text.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";

const bounds: TextBounds = { depth: 100 };
const read = (text: string, more: Partial<TextBounds> = {}) =>
  runAtOnce(jsonText(Buffer.from(text), { ...bounds, ...more }));

function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isTaken(text: string): boolean {
  try {
    read(text);
    return true;
  } catch (error) {
    expect(error).toBeInstanceOf(BadText);
    return false;
  }
}

/** JSON with one character changed, removed or inserted. */
const almostJson = fc
  .tuple(
    fc.json(),
    fc.nat(),
    fc.constantFrom(
      ...'{ } [ ] , : " \\ - + . e E t f n u 0 1 a \u0000 \n /'.split(" "),
      " ",
      "",
      "\\u00e9",
      "\\ud8ff",
      "NaN",
      "null",
      "1e5",
      "{}",
    ),
    fc.boolean(),
  )
  .map(([text, at, piece, isInstead]) => {
    const place = at % (text.length + 1);
    return text.slice(0, place) + piece + text.slice(place + Number(isInstead));
  });

describe("a JSON text", () => {
  test("is accepted exactly if JSON.parse accepts it", () => {
    fc.assert(
      fc.property(fc.oneof(almostJson, fc.json(), fc.string()), (text) => {
        expect(isTaken(text)).toBe(isJson(text));
      }),
      { numRuns: 3_000 },
    );
  });

  test.each([
    "",
    " ",
    "-",
    "01",
    "1.",
    "1e",
    "+1",
    ".5",
    "tru",
    "nulll",
    '"\\x"',
    '"\\u12g4"',
    '"\t"',
    "[1,]",
    "{,}",
    '{"a" 1}',
    "[}",
    "{]",
    "1 2",
    "\ufeff{}",
    "NaN",
    "-Infinity",
  ])("%j is not JSON", (text) => {
    expect(isJson(text)).toBe(false);
    expect(isTaken(text)).toBe(false);
  });

  test("has the members and items that JSON.parse finds", () => {
    const values = fc.oneof(
      fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue()),
      fc.array(fc.jsonValue()),
    );
    const spaces = fc.constantFrom(undefined, 1, "\t");
    fc.assert(
      fc.property(values, spaces, (value, space) => {
        const text = JSON.stringify(value, null, space);
        const { members, items } = read(text, { items: 10 });
        const parsed: unknown = JSON.parse(text);
        const found = Array.isArray(parsed)
          ? items.map((bytes) => JSON.parse(bytes.toString()) as unknown)
          : Object.fromEntries(
              [...members].map(([name, bytes]) => [
                name,
                JSON.parse(bytes.toString()) as unknown,
              ]),
            );
        expect(found).toEqual(parsed);
      }),
    );
  });

  test("may be longer than a step, with any step boundaries", () => {
    for (let before = 65_520; before < 65_545; before += 1) {
      const value = {
        a: "x".repeat(before - 6),
        b: 'é"\u0001',
        c: [-1.5e10, true],
      };
      const work = jsonText(Buffer.from(JSON.stringify(value)), bounds);
      expect(work.next().done).toBe(false);
      const { members } = runAtOnce(work);
      expect(JSON.parse(String(members.get("b")))).toBe(value.b);
      expect(JSON.parse(String(members.get("c")))).toEqual(value.c);
    }
  });

  test("is refused as too deep, with any kinds of brackets", () => {
    const deep = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(read(deep(100)).kind).toBe("array");
    expect(() => read(deep(101))).toThrow("100 levels deep");
    expect(() => read('{"a":'.repeat(200_000))).toThrow("100 levels deep");
  });

  test("is refused for too many values; uncounted members do not count", () => {
    const list = `{"content":[${"1,".repeat(5_000)}1],"b":[1,2]}`;
    expect(() => read(list, { values: 10 })).toThrow("more than 10 values");
    const uncounted = new Set(["content"]);
    expect(read(list, { values: 10, uncounted }).members.size).toBe(2);
  });
});
