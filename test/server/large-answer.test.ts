/** Large answers are encoded in pieces, as the same JSON. */
import fc from "fast-check";
import { expect, test } from "vitest";
import { RawJson, stringify } from "../../src/jupyter/raw-json.ts";
import {
  encodeInPieces,
  isLarge,
} from "../../src/server/answers/large-answer.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";

const KIB = 1024;
const AS_WRITTEN = ' {"big": 9007199254740993, "__proto__": 1e400} ';

/** Values of answers; some are long. */
const values = fc.letrec<{ value: unknown }>((tie) => ({
  value: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(null, true, 1.5, undefined),
    fc.string({ unit: "binary" }),
    fc.constant(new RawJson(Buffer.from(AS_WRITTEN))),
    fc
      .tuple(fc.string({ unit: "binary", minLength: 1 }), fc.nat(200 * KIB))
      .map(([text, length]) => text.repeat(Math.ceil(length / text.length))),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(fc.string(), tie("value"), { maxKeys: 4 }),
  ),
})).value;

test("the pieces together are the JSON of `stringify`", () => {
  fc.assert(
    fc.property(values, (value) => {
      const pieces = runAtOnce(encodeInPieces(value));
      expect(Buffer.concat(pieces).toString()).toBe(stringify(value));
    }),
    { numRuns: 200 },
  );
});

test.each([
  ["a long text", "\u{1f600}\u00e9".repeat(1024 * KIB)],
  ["many texts", Array.from({ length: 50_000 }, (_, at) => `text ${at}`)],
  [
    "many members",
    Object.fromEntries(
      Array.from({ length: 50_000 }, (_, at) => [`k${at}`, { at }]),
    ),
  ],
])("%s is large, and its pieces are small", (_, value) => {
  expect(isLarge(value)).toBe(true);
  const pieces = runAtOnce(encodeInPieces(value));
  expect(pieces.length).toBeGreaterThan(2);
  for (const { length } of pieces) expect(length).toBeLessThan(1024 * KIB);
  expect(Buffer.concat(pieces).toString()).toBe(JSON.stringify(value));
});
