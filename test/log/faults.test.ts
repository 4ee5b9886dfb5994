import { pino } from "pino";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Faults } from "../../src/log/faults.ts";

interface Line {
  readonly msg: string;
  readonly count: number;
  readonly session?: string;
}

function faultsWithLines(): { faults: Faults; lines: Line[] } {
  const lines: Line[] = [];
  const write = (text: string) => lines.push(JSON.parse(text) as Line);
  return { faults: new Faults(pino({}, { write })), lines };
}

beforeEach(() => vi.useFakeTimers({ toFake: ["performance"] }));
afterEach(() => vi.useRealTimers());

test("a hundred thousand faults of a kind cost one line a minute, with their number", () => {
  const { faults, lines } = faultsWithLines();

  for (let n = 0; n < 100_000; n += 1) faults.count("bad frame", "not JSON");
  vi.advanceTimersByTime(60_000);
  faults.count("bad frame", "not JSON");

  expect(lines.map(({ msg, count }) => [msg, count])).toEqual([
    ["bad frame: not JSON", 1],
    ["bad frame: not JSON (100000 since the last line)", 100_001],
  ]);
  expect(faults.total("bad frame")).toBe(100_001);
});

test("the faults of one session do not silence those of another", () => {
  const { faults, lines } = faultsWithLines();

  faults.count("bad frame", "not JSON", { session: "a" });
  faults.count("bad frame", "not JSON", { session: "a" });
  faults.count("bad frame", "not JSON", { session: "b" });

  expect(lines.map(({ session }) => session)).toEqual(["a", "b"]);
  expect(faults.total("bad frame")).toBe(3);
});

test("the number of kinds is limited, so that a peer cannot fill the memory", () => {
  const { faults } = faultsWithLines();

  for (let n = 0; n <= 1_000; n += 1) {
    faults.count("bad frame", "not JSON", { session: String(n) });
  }

  expect(faults.total("bad frame")).toBe(1_000);
});
