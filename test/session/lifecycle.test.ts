import { expect, test } from "vitest";
import { SessionStatus } from "../../contract/index.ts";
import { type Trigger, isRunning, next } from "../../src/session/lifecycle.ts";

/** Every status × every trigger; a dash means that it cannot happen there. */
const table = `
                 start     adopt     autorestart  answer  busy  idle  silence  exit
uninitialized    starting  starting  -            -       -     -     -        -
starting         -         -         -            ready   -     -     -        exited
ready            -         -         -            -       busy  idle  offline  exited
idle             -         -         -            -       busy  -     offline  exited
busy             -         -         -            -       -     idle  offline  exited
offline          -         -         -            ready   busy  idle  -        exited
exited           starting  starting  starting     -       -     -     -        -
`;

const [triggers = [], ...rows] = table
  .trim()
  .split("\n")
  .map((line) => line.trim().split(/\s+/));
const cells = rows.flatMap(([status, ...targets]) =>
  targets.map((target, index) => [status, triggers[index], target] as const),
);

test("the table of this test has every status", () => {
  expect(rows.map(([status]) => status)).toEqual(SessionStatus.options);
});

test.each(cells)("%s, %s: %s", (status, trigger, target) => {
  const led = next(status as SessionStatus, trigger as Trigger);
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
