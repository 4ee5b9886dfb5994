import { expect, test } from "vitest";
import { Cursors } from "../../src/journal/cursors.ts";

test("nobody has heard anything before somebody reads", () => {
  expect(new Cursors().acknowledged).toBe(0);
});

test("what one of those who read has not heard is needed", () => {
  const places = new Cursors();
  places.add(() => 10, false);
  const leave = places.add(() => 3, false);
  expect([places.count, places.acknowledged]).toEqual([2, 3]);
  leave();
  expect([places.count, places.acknowledged]).toEqual([1, 10]);
});

test("where nobody reads, the last who did comes back for the rest", () => {
  const places = new Cursors();
  let seen = 0;
  const leave = places.add(() => seen, false);
  seen = 7;
  leave();
  seen = 9;
  expect([places.count, places.acknowledged]).toEqual([0, 7]);
});

test("who looks for a part has heard nothing, and needs what is to come", () => {
  const places = new Cursors();
  places.add(() => 5, true)();
  expect(places.acknowledged).toBe(0);
  places.add(() => 8, false);
  const leave = places.add(() => 2, true);
  expect(places.acknowledged).toBe(2);
  leave();
  expect(places.acknowledged).toBe(8);
});
