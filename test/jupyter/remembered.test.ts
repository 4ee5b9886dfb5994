import { expect, test } from "vitest";
import { Remembered } from "../../src/jupyter/remembered.ts";

test("the newest ids up to the limit are known, and no older ones", () => {
  const ids = new Remembered<string, true>(1_000);
  for (let n = 0; n < 5_000; n += 1) {
    ids.set(`id-${n}`, true);
    expect(ids.has(`id-${n}`)).toBe(true);
    expect(ids.has(`id-${n - 999}`)).toBe(n >= 999);
    expect(ids.has(`id-${n - 1_000}`)).toBe(false);
  }
});

test("an id that is added twice takes one place, and keeps its age", () => {
  const ids = new Remembered<string, true>(2);
  for (const id of ["a", "b", "a", "c"]) ids.set(id, true);
  expect(["a", "b", "c"].filter((id) => ids.has(id))).toEqual(["b", "c"]);
});
