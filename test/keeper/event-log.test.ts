/** What a keeper keeps of a run until it is acknowledged: in memory, in files, and past the limits. */
import { chmodSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, onTestFinished, test } from "vitest";
import {
  type EventFrame,
  type EventLog,
  EventStore,
} from "../../src/keeper/event-log.ts";
import { eventIn, outputEvent } from "../../src/keeper/events.ts";
import { FrameReader } from "../../src/keeper/frames.ts";
import { Faults } from "../../src/log/faults.ts";
import { silentLog } from "../../src/log/log.ts";
import { eventually, temporaryFolder } from "../harness.ts";
import { needsLinux } from "../needs.ts";

const MIB = 1024 * 1024;
const RUN = Buffer.alloc(16, 1);

function storeOf(limits: { memory: number; disk?: number; folder?: string }) {
  const { memory, disk = 0, folder = temporaryFolder() } = limits;
  const faults = new Faults(silentLog());
  const store = new EventStore({
    memory,
    disk,
    directory: () => folder,
    faults,
  });
  onTestFinished(() => store[Symbol.dispose]());
  return { store, faults, folder };
}

/** Adds an event with this many bytes of text. */
function add(log: EventLog, size = 10): number {
  return log.add(outputEvent("stdout", "x".repeat(size)));
}

function numbersIn(frames: readonly EventFrame[]): number[] {
  const reader = new FrameReader(64 * MIB, { hasMagic: true });
  const bytes = Buffer.concat(frames.flat());
  return [...reader.read(bytes)].map((frame) => eventIn(frame).number);
}

/** Everything after event `after`, as a server that follows reads it. */
async function all(log: EventLog, after = 0): Promise<(number | string)[]> {
  const found: (number | string)[] = [];
  let sent = after;
  while (sent < log.newest) {
    if (sent + 1 < log.oldest) {
      found.push(`gap ${sent + 1}-${log.oldest - 1}`);
      sent = log.oldest - 1;
      continue;
    }
    const numbers = numbersIn(await log.read(sent));
    found.push(...numbers);
    sent = numbers.at(-1) ?? sent;
  }
  return found;
}

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

test("invariant 1: events of a run are numbered from 1, dense, each run by itself", async () => {
  const { store } = storeOf({ memory: MIB });
  const [one, two] = [store.logOf(RUN), store.logOf(Buffer.alloc(16, 2))];
  expect([add(one), add(one), add(two), add(one)]).toEqual([1, 2, 1, 3]);
  expect(await all(one)).toEqual([1, 2, 3]);
  expect(await all(two)).toEqual([1]);
});

describe("invariant 2:", () => {
  test("an event is kept until it is acknowledged, and dropped then", async () => {
    const { store } = storeOf({ memory: MIB });
    const log = store.logOf(RUN);
    for (let n = 0; n < 10; n += 1) add(log);
    expect(await all(log, 4)).toEqual(range(5, 10));
    log.acknowledge(7);
    expect([log.oldest, log.newest]).toEqual([8, 10]);
    expect(await all(log)).toEqual(["gap 1-7", 8, 9, 10]);
    log.acknowledge(3); // an older one changes nothing
    expect(store.isEmpty).toBe(false);
    log.acknowledge(10);
    expect(store.isEmpty).toBe(true);
    expect(log.memory).toBe(0);
    expect([log.oldest, add(log), log.oldest]).toEqual([11, 11, 11]);
  });

  test("past the memory, events are in private files, and nothing is lost", async () => {
    const { store, folder, faults } = storeOf({ memory: MIB, disk: 100 * MIB });
    const log = store.logOf(RUN);
    for (let n = 1; n <= 300; n += 1) add(log, 100_000);
    await eventually("the events in files", () =>
      log.memory <= MIB ? true : undefined,
    );
    expect(log.disk).toBeGreaterThan(28 * 100_000);
    for (const name of readdirSync(folder)) {
      expect(readFileSync(join(folder, name)).length).toBeGreaterThan(0);
    }
    expect(await all(log)).toEqual(range(1, 300));
    expect(await all(log, 150)).toEqual(range(151, 300));
    log.acknowledge(200);
    expect(await all(log, 250)).toEqual(range(251, 300));
    log.acknowledge(300);
    expect(readdirSync(folder)).toEqual([]);
    expect(store.isEmpty).toBe(true);
    expect(faults.total("Events of kernels were forgotten")).toBe(0);
  });

  test("past the files, the oldest are gone, and a gap says which", async () => {
    const { store, faults } = storeOf({ memory: MIB, disk: 8 * MIB });
    const log = store.logOf(RUN);
    for (let n = 1; n <= 300; n += 1) {
      add(log, 100_000);
      await store.relieved;
    }
    await eventually("the events in files", () =>
      log.memory <= MIB ? true : undefined,
    );
    expect(log.disk).toBeLessThanOrEqual(8 * MIB);
    const [gap, ...rest] = await all(log);
    expect(gap).toBe(`gap 1-${log.oldest - 1}`);
    expect(log.oldest).toBeGreaterThan(1);
    expect(rest).toEqual(range(log.oldest, 300));
    expect(faults.total("Events of kernels were forgotten")).toBeGreaterThan(0);
  });

  test("without files, the oldest go from memory", async () => {
    const { store } = storeOf({ memory: MIB });
    const log = store.logOf(RUN);
    for (let n = 1; n <= 50; n += 1) add(log, 100_000);
    await eventually("room", () => (log.memory <= MIB ? true : undefined));
    expect(log.oldest).toBeGreaterThan(1);
    expect(await all(log)).toEqual([
      `gap 1-${log.oldest - 1}`,
      ...range(log.oldest, 50),
    ]);
  });

  test("the run with the most loses its own, and no other", async () => {
    const { store } = storeOf({ memory: MIB });
    const [quiet, loud] = [store.logOf(RUN), store.logOf(Buffer.alloc(16, 2))];
    add(quiet, 1_000);
    for (let n = 1; n <= 50; n += 1) add(loud, 100_000);
    await eventually("room", () => (loud.memory <= MIB ? true : undefined));
    expect(await all(quiet)).toEqual([1]);
  });

  test("an event larger than the memory is in a file of its own", async () => {
    const { store } = storeOf({ memory: MIB, disk: 100 * MIB });
    const log = store.logOf(RUN);
    add(log);
    add(log, 9 * MIB);
    add(log);
    await eventually("the file", () => (log.disk > 9 * MIB ? true : undefined));
    expect(await all(log)).toEqual([1, 2, 3]);
  });

  test(
    "a directory that cannot be written costs the oldest events, and is counted",
    needsLinux,
    async () => {
      const { store, faults, folder } = storeOf({
        memory: MIB,
        disk: 100 * MIB,
        folder: "/proc/nowhere",
      });
      expect(folder).toBe("/proc/nowhere");
      const log = store.logOf(RUN);
      for (let n = 1; n <= 50; n += 1) add(log, 100_000);
      await eventually("room", () => (log.memory <= MIB ? true : undefined));
      expect(await all(log)).toEqual([
        `gap 1-${log.oldest - 1}`,
        ...range(log.oldest, 50),
      ]);
      expect(faults.total("Events of kernels were forgotten")).toBeGreaterThan(
        0,
      );
    },
  );

  test.each([
    ["cut short", (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1)],
    [
      "with another length",
      (bytes: Buffer) => Buffer.concat([Buffer.from([255]), bytes.subarray(1)]),
    ],
    ["empty", () => Buffer.alloc(0)],
  ])("a file that is %s becomes a gap", async (_, damage) => {
    const { store, folder } = storeOf({ memory: MIB, disk: 100 * MIB });
    const log = store.logOf(RUN);
    for (let n = 1; n <= 100; n += 1) add(log, 100_000);
    await eventually("the events in files", () =>
      log.memory <= MIB ? true : undefined,
    );
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      chmodSync(path, 0o600);
      writeFileSync(path, damage(readFileSync(path)));
    }
    const found = await all(log); // one gap for each file
    const gaps = found.filter((one) => typeof one === "string");
    expect(gaps[0]).toMatch(/^gap 1-/);
    expect(gaps.at(-1)).toMatch(`-${log.oldest - 1}`);
    expect(found.slice(gaps.length)).toEqual(range(log.oldest, 100));
    expect(log.disk).toBe(0);
  });

  test("what is kept is always the newest without a hole, whatever happens in whatever order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.oneof(
            fc.record({ add: fc.integer({ min: 0, max: 400_000 }) }),
            fc.record({ ack: fc.integer({ min: 0, max: 60 }) }),
            fc.constant({ wait: true }),
          ),
          { maxLength: 60 },
        ),
        async (steps) => {
          const folder = temporaryFolder();
          const { store } = storeOf({ memory: MIB, disk: 5 * MIB, folder });
          const log = store.logOf(RUN);
          let acknowledged = 0;
          for (const step of steps) {
            if ("add" in step) add(log, step.add);
            else if ("ack" in step) {
              acknowledged = Math.max(
                acknowledged,
                Math.min(step.ack, log.newest),
              );
              log.acknowledge(step.ack);
            } else await new Promise((resolve) => setTimeout(resolve, 1));
          }
          const found = await all(log);
          const numbers = found.filter((one) => typeof one === "number");
          expect(numbers).toEqual(range(log.oldest, log.newest));
          expect(log.oldest).toBeLessThanOrEqual(log.newest + 1);
          expect(log.newest).toBeGreaterThanOrEqual(acknowledged);
        },
      ),
      { numRuns: 25 },
    );
  });
});
