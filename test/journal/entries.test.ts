/** Consecutive entries of a journal in memory. */
import { expect, it } from "vitest";
import { compose } from "../../src/jupyter/message.ts";
import { Entries } from "../../src/journal/entries.ts";
import { Slab } from "../../src/journal/slab.ts";

/** Large enough for the pool of memory, which is used again for other slabs. */
const CAPACITY = 64 * 1024;

function slabOf(text: string, count: number): Slab {
  const slab = new Slab(1, CAPACITY);
  for (let n = 0; n < count; n += 1) {
    const content = { name: "stdout", text };
    const draft = { session: "s", username: "u", content };
    slab.append(compose({ ...draft, channel: "iopub", msg_type: "stream" }));
  }
  return slab;
}

it("gives as many of the first entries as fit, and at least one", () => {
  const slab = slabOf("x", 20);
  const all = new Entries(slab, 0, 20);
  for (let count = 1; count <= 20; count += 1) {
    const bytes = slab.sizeOf(0, count);
    expect([...all.upTo(bytes)].length).toBe(count);
    expect([...all.upTo(bytes + 1)].length).toBe(count);
    expect([...all.upTo(bytes - 1)].length).toBe(Math.max(1, count - 1));
  }
});

it("keeps its bytes while a reader needs them, and no longer", () => {
  const slab = slabOf("of the slow reader", 2);
  const records = slab.recordsOf(0, 2);
  const bytes = Buffer.from(records);
  slab.pin();
  slab.pin();
  slab.drop();
  slab.unpin();
  slabOf("of another journal", 9);
  expect(records.equals(bytes)).toBe(true);

  slab.unpin();
  slabOf("of another journal", 9);
  expect(records.equals(bytes)).toBe(false);
});
