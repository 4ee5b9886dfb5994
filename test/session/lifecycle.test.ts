import { expect, test } from "vitest";
import { SessionStatus } from "../../contract/index.ts";
import {
  type Happening,
  isRunning,
  next,
} from "../../src/session/lifecycle.ts";

/** Every status × every happening; a dash means that it cannot happen there. */
const table = `
                 start     adopt     answer  busy  idle  silence  exit
uninitialized    starting  starting  -       -     -     -        -
starting         -         -         ready   -     -     -        exited
ready            -         -         -       busy  idle  offline  exited
idle             -         -         -       busy  -     offline  exited
busy             -         -         -       -     idle  offline  exited
offline          -         -         ready   busy  idle  -        exited
exited           starting  starting  -       -     -     -        -
`;

const [happenings = [], ...rows] = table
  .trim()
  .split("\n")
  .map((line) => line.trim().split(/\s+/));
const cells = rows.flatMap(([status, ...targets]) =>
  targets.map((target, index) => [status, happenings[index], target] as const),
);

test("the table of this test has every status", () => {
  expect(rows.map(([status]) => status)).toEqual(SessionStatus.options);
});

test.each(cells)("%s, %s: %s", (status, happening, target) => {
  const led = next(status as SessionStatus, happening as Happening);
  expect(led ?? "-").toBe(target);
});

test.each([
  ["uninitialized", false],
  ["starting", true],
  ["ready", true],
  ["idle", true],
  ["busy", true],
  ["offline", true],
  ["exited", false],
] as const)("whether a session that is %s runs: %s", (status, runs) => {
  expect(isRunning(status)).toBe(runs);
});
