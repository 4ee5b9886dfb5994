import fc from "fast-check";
import { expect, test } from "vitest";
import { ClippedText } from "../../src/session/clipped-text.ts";

const LIMIT = 64;

function clipped(...pieces: readonly string[]): string {
  const text = new ClippedText(LIMIT);
  for (const piece of pieces) text.add(piece);
  return text.toString();
}

function fromJson(json: string): string {
  const text = new ClippedText(LIMIT);
  text.addJson(Buffer.from(json));
  return text.toString();
}

test("text up to the limit is complete", () => {
  const text = "x".repeat(LIMIT);
  expect(clipped(text)).toBe(text);
  expect(clipped("x".repeat(40), "x".repeat(24))).toBe(text);
});

test("of longer text both ends stay, and the omitted bytes are counted", () => {
  expect(clipped("a".repeat(50), "b".repeat(50))).toBe(
    `${"a".repeat(32)}\n[... 36 bytes omitted ...]\n${"b".repeat(32)}`,
  );
});

test("no character is cut: an incomplete one is omitted", () => {
  expect(clipped(`x${"é".repeat(50)}`)).toBe(
    `x${"é".repeat(15)}\n[... 38 bytes omitted ...]\n${"é".repeat(16)}`,
  );
  expect(clipped("😀".repeat(17))).toBe(
    `${"😀".repeat(8)}\n[... 4 bytes omitted ...]\n${"😀".repeat(8)}`,
  );
});

test("many small pieces are one text", () => {
  const text = Array.from({ length: 300 }, (_, n) => `${n}\n`).join("");
  expect(clipped(...Array.from(text))).toBe(clipped(text));
});

/** Pieces of JSON strings, as text and as they may be encoded. */
const piece = fc.oneof(
  fc.constantFrom("a", "\n", '"', "\\", "é", "😀", "€", "\u0000", "uuuuuu"),
  fc.string({ unit: "grapheme" }),
);

test("a JSON string gives the same text as the decoded string, after any text, whether its length is known or not", () => {
  fc.assert(
    fc.property(
      fc.array(piece, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 800 }),
      fc.constantFrom(0, 1, LIMIT, LIMIT + 1, 3 * LIMIT),
      fc.record({ isAscii: fc.boolean(), isKnown: fc.boolean() }),
      (pieces, times, before, { isAscii, isKnown }) => {
        const text = pieces.join("").repeat(times);
        const json = JSON.stringify(text);
        const found = new ClippedText(LIMIT);
        found.add("b".repeat(before));
        const bytes = Buffer.from(isAscii ? escapedIn(json) : json);
        if (isKnown) found.addJsonOf(bytes, Buffer.byteLength(text));
        else found.addJson(bytes);
        expect(found.toString()).toBe(clipped("b".repeat(before), text));
      },
    ),
  );
});

test("a long JSON string gives the same text as the decoded string", () => {
  fc.assert(
    fc.property(
      fc.array(piece, { minLength: 1, maxLength: 8 }),
      fc.integer({ min: 1, max: 400 }),
      fc.boolean(),
      (pieces, times, isAscii) => {
        const text = pieces.join("").repeat(times);
        const json = JSON.stringify(text);
        expect(fromJson(isAscii ? escapedIn(json) : json)).toBe(clipped(text));
      },
    ),
  );
});

/** Encodes everything that is not ASCII as escapes, as Python does. */
function escapedIn(json: string): string {
  return json.replace(
    /[^ -~]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

test("a value that is not a JSON string is refused", () => {
  const text = new ClippedText(LIMIT);
  for (const json of ["7", '"x', '"\\x"', `"${"\\x".repeat(1000)}"`]) {
    expect(() => text.addJson(Buffer.from(json))).toThrow(SyntaxError);
  }
});

test("of a long row of backslashes both ends stay, cut between escapes", () => {
  const ends = "\\".repeat(32);
  for (const pairs of [500, 30_000, 2_000_000]) {
    for (const before of ["", "\u00e9"]) {
      const text = fromJson(JSON.stringify(before + "\\".repeat(pairs)));
      const [start = "", omitted, end] = text.split("\n");
      expect(start).toBe(before + ends.slice(2 * before.length));
      expect(omitted).toMatch(/^\[\.\.\. \d+ bytes omitted \.\.\.\]$/);
      expect(end).toBe(ends);
    }
  }
});
