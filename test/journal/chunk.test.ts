import { readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { compose } from "../../src/jupyter/message.ts";
import { NO_MARK, slabsIn, toChunk } from "../../src/journal/chunk.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";
import { Entries } from "../../src/journal/entries.ts";
import { eventText, Slab } from "../../src/journal/slab.ts";

const FACTS = {
  journal_id: "00112233aabbccdd",
  mark: NO_MARK,
  continues: false,
};

function segment(): Buffer {
  const pieces: Uint8Array[] = [];
  for (let first = 1; first <= 9; first += 3) {
    const slab = new Slab(first, 8 * 1024);
    for (let n = 0; n < 2; n += 1) {
      slab.append(
        compose({
          channel: "iopub",
          msg_type: "stream",
          content: { name: "stdout", text: `line ${first + n}\n` },
          session: "s",
          username: "u",
          msg_id: `m${first + n}`,
          date: "2026-11-29T00:00:00.000Z",
          buffers: n === 1 ? [Buffer.from([1, 2, 3])] : [],
        }),
      );
    }
    const event = { kind: "status", status: "idle", reason: null } as const;
    slab.appendEvent("status", eventText(event, first + 2));
    pieces.push(...runAtOnce(toChunk(slab.partsOf(0, slab.count), FACTS)));
  }
  return Buffer.concat(pieces);
}

function textsIn(file: Buffer): string[] {
  return slabsIn(file).slabs.flatMap((slab) =>
    [...new Entries(slab, 0, slab.count)].map(({ text }) => text.toString()),
  );
}

test("a segment of version 1 is read, and written again to the same bytes", () => {
  const kept = readFileSync(new URL("segment-1.bin", import.meta.url));
  expect(segment().equals(kept)).toBe(true);
  const { slabs, validLength } = slabsIn(kept);
  expect(validLength).toBe(kept.length);
  expect(slabs.map(({ first, last }) => [first, last])).toEqual([
    [1, 3],
    [4, 6],
    [7, 9],
  ]);
  const [second] = textsIn(kept).slice(1);
  expect(JSON.parse(second ?? "")).toMatchObject({
    seq: 2,
    channel: "iopub",
    content: { text: "line 2\n" },
    buffers: ["AQID"],
  });
});

test("a segment that is cut off or damaged can be read up to the damage", () => {
  const good = segment();
  const texts = textsIn(good);
  fc.assert(
    fc.property(
      fc.nat(good.length - 1),
      fc.integer({ min: 1, max: 255 }),
      fc.boolean(),
      (at, change, isCut) => {
        const file = isCut ? good.subarray(0, at) : Buffer.from(good);
        if (!isCut) file[at] = (file[at] ?? 0) ^ change;
        const found = textsIn(file);
        expect(found).toEqual(texts.slice(0, found.length));
        expect(found.length).toBeLessThan(texts.length);
        expect(found.length % 3).toBe(0);
      },
    ),
    { numRuns: 2_000 },
  );
});
