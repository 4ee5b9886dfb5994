/** Finds the members of an object, at once and in short steps. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { findMembers, membersOf } from "../../src/jupyter/json-members.ts";
import { BadText } from "../../src/jupyter/json-text.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";

const spelled = (value: unknown) =>
  fc.constantFrom(0, 2).map((indent) => JSON.stringify(value, null, indent));

test("each member is its own JSON, with any content", () => {
  fc.assert(
    fc.property(
      fc.dictionary(fc.string(), fc.jsonValue()).chain(spelled),
      (text) => {
        const found = [...membersOf(Buffer.from(text))].map(
          ([name, value]) => [name, JSON.parse(value.toString())] as const,
        );
        const object = JSON.parse(text) as Record<string, unknown>;
        expect(new Map(found)).toEqual(new Map(Object.entries(object)));
      },
    ),
  );
});

/** As strings: to compare large buffers takes minutes on a busy machine. */
function textsIn(text: Buffer): (readonly [string, string])[] {
  return [...membersOf(text)].map(([name, value]) => [name, value.toString()]);
}

const long = 'x\\"\\\\'.repeat(200_000);

describe("in short steps", () => {
  test.each([
    ["a long text", `{"a":"${long}","b":{"c":"]}"}}`],
    ["many texts", `{"a":[${`"${"y".repeat(9)}",`.repeat(100_000)}""],"b":1}`],
    ["many numbers", ` { "a" : [${"1.5, ".repeat(300_000)}0] , "b" : [] } `],
    ["many brackets", `{"a":${"[".repeat(90_000)}${"]".repeat(90_000)},"b":2}`],
    ["a small object", '{"a":1}'],
    ["an empty one", " {} "],
  ])("%s: the same members", (_, json) => {
    const text = Buffer.from(json);
    const work = findMembers(text);
    let steps = 1;
    while (work.next().done !== true) steps += 1;
    expect(steps > 1).toBe(text.length > 300_000);
    expect(textsIn(text)).toEqual(textsIn(Buffer.from(json)));
  });

  test("a value that is not an object has no members", () => {
    const text = Buffer.from("[1]");
    runAtOnce(findMembers(text));
    expect(() => membersOf(text)).toThrow(BadText);
  });
});
