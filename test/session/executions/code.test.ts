import fc from "fast-check";
import { expect, test } from "vitest";
import { limits } from "../../../contract/limits.ts";
import { type Code, codeOf } from "../../../src/session/executions/code.ts";

const CLIP = 4096;

function codeIn(content: string): Code {
  const raw = { content: Buffer.from(content) };
  return codeOf({ raw } as unknown as Parameters<typeof codeOf>[0]);
}

/** One character, in each encoding that JSON has for it. */
const spelled = fc.constantFrom(
  ...["a", " ", "é", "€", "😀"],
  "\\n",
  "\\\\",
  '\\"',
  "\\/",
  "\\u0041",
  "\\u20AC",
  "\\ud83d\\ude00",
  "\\ud800",
  "\\\\u0041",
);

test("code of any length and encoding is measured and clipped as if it were parsed", () => {
  const parts = fc.array(spelled, { minLength: 1, maxLength: 40 });
  const times = fc.integer({ min: 1, max: 6_000 });
  fc.assert(
    // No half of a character is shown at a cut.
    fc.property(parts, times, parts, (repeated, count, tail) => {
      const json = `"${repeated.join("").repeat(count)}${tail.join("")}"`;
      const code = JSON.parse(json) as string;
      const isLong = code.length > 2 * CLIP;
      const first = code.slice(0, CLIP).replace(/[\ud800-\udbff]$/, "");
      const last = code.slice(-CLIP).replace(/^[\udc00-\udfff]/, "");
      const ends = `${first}\n…\n${last}`;
      const { shown, listed } = codeIn(`{"code":${json},"silent":false}`);
      expect(listed).toEqual({
        code: isLong ? ends : code,
        code_length: code.length,
        code_is_clipped: isLong,
      });
      const isLarge = Buffer.byteLength(json) > limits.shown_code_bytes;
      expect(shown).toEqual(
        isLong && isLarge
          ? listed
          : { code, code_length: code.length, code_is_clipped: false },
      );
    }),
    { numRuns: 200 },
  );
});

test.each(["{}", "[]", '{"code":7}', '{"code":null}', '{"code":["a"]}'])(
  "%s has no code",
  (content) => {
    const none = { code: "", code_length: 0, code_is_clipped: false };
    expect(codeIn(content)).toMatchObject({ shown: none, listed: none });
  },
);
