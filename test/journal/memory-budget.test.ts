/** The memory that the journals of a server share. */
import { expect, it } from "vitest";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";

it("writes whenever more than half of it is not on disk, one journal at a time", async () => {
  const budget = new MemoryBudget(1_000);
  const writes: (() => void)[] = [];
  const holder = {
    bytes: 0,
    unwritten: 0,
    exempt: 0,
    writeDown: () => new Promise<void>((resolve) => writes.push(resolve)),
    evict: () => expect.unreachable("nothing is evicted"),
  };
  const add = (bytes: number) => {
    holder.bytes += bytes;
    holder.unwritten += bytes;
    budget.count(bytes, bytes);
    budget.enforceLimit();
  };
  budget.join(holder);

  add(500);
  expect(writes.length).toBe(0);
  add(100);
  expect(writes.length).toBe(1);
  add(100);
  expect(writes.length).toBe(1); // the first write has not ended

  writes[0]?.();
  await Promise.resolve().then(() => Promise.resolve());
  add(100);
  expect(writes.length).toBe(2);
});
