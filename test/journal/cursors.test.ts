import { expect, test } from "vitest";
import { Cursors } from "../../src/journal/cursors.ts";

test("without readers, no entry is acknowledged", () => {
  expect(new Cursors().acknowledged).toBe(0);
});

test("entries that one reader has not acknowledged are needed", () => {
  const places = new Cursors();
  places.add(() => 10, false);
  const leave = places.add(() => 3, false);
  expect([places.count, places.acknowledged]).toEqual([2, 3]);
  leave();
  expect([places.count, places.acknowledged]).toEqual([1, 10]);
});

test("without readers, the position of the last one that left counts", () => {
  const places = new Cursors();
  let seen = 0;
  const leave = places.add(() => seen, false);
  seen = 7;
  leave();
  seen = 9;
  expect([places.count, places.acknowledged]).toEqual([0, 7]);
});

test("a reader of a part has acknowledged nothing, and needs the entries that follow", () => {
  const places = new Cursors();
  places.add(() => 5, true)();
  expect(places.acknowledged).toBe(0);
  places.add(() => 8, false);
  const leave = places.add(() => 2, true);
  expect(places.acknowledged).toBe(2);
  leave();
  expect(places.acknowledged).toBe(8);
});
