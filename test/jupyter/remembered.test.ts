import { expect, test } from "vitest";
import { LastIds } from "../../src/session/last-ids.ts";

test("the newest ids up to the limit are known, and no older ones", () => {
  const ids = new LastIds(1_000);
  for (let n = 0; n < 5_000; n += 1) {
    ids.add(`id-${n}`);
    expect(ids.has(`id-${n}`)).toBe(true);
    expect(ids.has(`id-${n - 999}`)).toBe(n >= 999);
    expect(ids.has(`id-${n - 1_000}`)).toBe(false);
  }
});

test("an id that is added twice takes one place, and keeps its age", () => {
  const ids = new LastIds(2);
  for (const id of ["a", "b", "a", "c"]) ids.add(id);
  expect(["a", "b", "c"].filter((id) => ids.has(id))).toEqual(["b", "c"]);
});
