import { expect, test } from "vitest";
import { Cursors } from "../../src/journal/cursors.ts";

test("nobody has heard anything before somebody reads", () => {
  expect(new Cursors().heard).toBe(0);
});

test("what one of those who read has not heard is needed", () => {
  const places = new Cursors();
  places.enter(() => 10, false);
  const leave = places.enter(() => 3, false);
  expect([places.count, places.heard]).toEqual([2, 3]);
  leave();
  expect([places.count, places.heard]).toEqual([1, 10]);
});

test("where nobody reads, the last who did comes back for the rest", () => {
  const places = new Cursors();
  let seen = 0;
  const leave = places.enter(() => seen, false);
  seen = 7;
  leave();
  seen = 9;
  expect([places.count, places.heard]).toEqual([0, 7]);
});

test("who looks for a part has heard nothing, and needs what is to come", () => {
  const places = new Cursors();
  places.enter(() => 5, true)();
  expect(places.heard).toBe(0);
  places.enter(() => 8, false);
  const leave = places.enter(() => 2, true);
  expect(places.heard).toBe(2);
  leave();
  expect(places.heard).toBe(8);
});
