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
    overdraft: 0,
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

it("takes what is on disk first, then what a journal holds beyond its own limit", () => {
  const budget = new MemoryBudget(1_000);
  const taken: unknown[] = [];
  const holderOf = (name: string, overdraft: number) => ({
    bytes: 500,
    unwritten: 500,
    exempt: 0,
    overdraft,
    writeDown: () => Promise.resolve(),
    evict: (bytes: number, what: string) => {
      taken.push([name, bytes, what]);
      if (what === "any") budget.count(-bytes, -bytes);
    },
  });
  budget.join(holderOf("modest", 0));
  budget.join(holderOf("greedy", 200));
  budget.count(1_100, 1_100);
  budget.enforceLimit();
  expect(taken.slice(0, 2).map((one) => (one as string[])[2])).toEqual([
    "written",
    "written",
  ]);
  expect(taken.slice(2)).toEqual([["greedy", 100, "any"]]);
});
