import { expect, test } from "vitest";
import { Entries } from "../../src/journal/entries.ts";
import { Slab } from "../../src/journal/slab.ts";
import { framedLength, payloadsIn } from "../../src/jupyter/websocket-frame.ts";
import { encodeEntries } from "../../src/server/encode-entries.ts";

/** A slab of events with such texts; the first has the number `first`. */
function slabOf(texts: readonly string[], first: number): Slab {
  const capacity = texts.reduce(
    (sum, text) => sum + framedLength(Buffer.byteLength(text)),
    0,
  );
  const slab = new Slab(first, capacity);
  for (const text of texts) slab.appendEvent("test", Buffer.from(text));
  return slab;
}

const LARGE = 64 * 1024; // a text of this size is not copied
const around = (size: number) => [size - 1, size, size + 1];

/** JSON texts of all lengths at which a frame's header, or the way of the text, changes. */
const texts = [
  ...["{}", '{ "a":\n1,\r\n"ö": "🙂" }'],
  ...[...around(126), ...around(4_000), ...around(65_536), ...around(LARGE)]
    .map((size) => `"${"x".repeat(size - 2)}"`)
    .flatMap((text) => [text, "0"]),
];

for (const first of [1, 8, 99_990, 9_007_199_254_740_000]) {
  test(`each text gets its wrapping, and its number from ${first} on`, () => {
    const slab = slabOf(texts, first);
    for (const [from, to] of [
      [0, texts.length],
      [1, 3],
      [5, 6],
    ] as const) {
      const { pieces } = encodeEntries(new Entries(slab, from, to), {
        before: [`{"id":${first},"at":"j:`, `","data":{"id":"j:`, '","data":'],
        after: "}}",
        isFramed: true,
      });
      const payloads = [...payloadsIn(Buffer.concat(pieces))].map(String);
      const expected = texts
        .slice(from, to)
        .map(
          (text, index) =>
            `{"id":${first},"at":"j:${first + from + index}","data":{"id":"j:${first + from + index}","data":${text}}}`,
        );
      expect(payloads.length).toBe(expected.length);
      for (const [index, payload] of payloads.entries()) {
        expect(payload === expected[index], `entry ${index}`).toBe(true);
      }
    }
  });
}

test("a text of several lines is one line in an event stream, also a large one", () => {
  const large = `[\n"${"y".repeat(LARGE)}"\r\n]`;
  const slab = slabOf(['{\n"a":\r1}', large, "2"], 7);
  const { pieces } = encodeEntries(new Entries(slab, 0, 3), {
    before: ["id: j:", "\ndata: "],
    after: "\n\n",
  });
  const text = Buffer.concat(pieces).toString();
  expect(text).toBe(
    `id: j:7\ndata: { "a": 1}\n\nid: j:8\ndata: ${large.replaceAll(/[\n\r]/g, " ")}\n\nid: j:9\ndata: 2\n\n`,
  );
  // The journal's own text is unchanged.
  expect(slab.textOf(1).toString()).toBe(large);
});

test("memory that a slow reader still needs is not used for the next range", async () => {
  const many = (sign: string) =>
    Array<string>(400).fill(`"${sign.repeat(500)}"`);
  const range = (sign: string) => new Entries(slabOf(many(sign), 1), 0, 400);
  const wrapping = { before: ["<", ">"], after: "\n\n" };
  const slow = encodeEntries(range("a"), wrapping);
  slow.memory.pin();
  const before = Buffer.concat(slow.pieces);
  for (const sign of ["b", "c", "d"]) {
    const { memory } = encodeEntries(range(sign), wrapping);
    memory.pin();
    memory.unpin();
    await new Promise((resolve) => setTimeout(resolve, 0)); // the server forgets what it encoded in this turn
  }
  expect(Buffer.concat(slow.pieces).equals(before)).toBe(true);
  const last = range("e"); // takes memory of its own
  slow.memory.unpin();
  const next = encodeEntries(last, wrapping);
  const memoryOf = ({ pieces }: { readonly pieces: readonly Buffer[] }) =>
    pieces[0]?.buffer;
  expect(memoryOf(next) === memoryOf(slow)).toBe(true); // and then it is
});

test("readers at one position share what was encoded", () => {
  const entries = new Entries(slabOf(["1", "2"], 1), 0, 2);
  const wrapping = { before: ["shared ", ": "], after: "\n" };
  expect(encodeEntries(entries, wrapping).pieces).toBe(
    encodeEntries(entries, wrapping).pieces,
  );
});
