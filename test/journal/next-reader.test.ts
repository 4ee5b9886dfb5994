/** Fair scheduling: the server reads from kernels although many readers have much to read. */
import { afterEach, expect, test, vi } from "vitest";
import { compose } from "../../src/jupyter/message.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { Journal } from "../../src/journal/journal.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import { nextReader } from "../../src/journal/next-reader.ts";
import { silentLog } from "../../src/log/log.ts";

afterEach(() => void vi.useRealTimers());

test("the server reads from a kernel after eight milliseconds of serving readers, with any number of readers", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  const READERS = 40;
  const READING_MS = 3;
  await using journal = new Journal({
    memory: 4 * 1024 * 1024,
    disk: 0,
    budget: new MemoryBudget(4 * 1024 * 1024),
    diskBudget: new DiskBudget(0),
    schedule: nextReader,
    directory: () => {
      throw new Error("Nothing is written down");
    },
    log: silentLog(),
  });
  const output = compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stdout", text: "x".repeat(100_000) },
    session: "s",
    username: "u",
  });
  for (let n = 0; n < 20; n += 1) journal.append(output);

  const stop = new AbortController();
  /** Readings since the kernel was last read. */
  let inTurn = 0;
  let most = 0;
  let readings = 0;
  const read = async () => {
    for await (const reading of journal.follow(0, stop.signal)) {
      inTurn += 1;
      most = Math.max(most, inTurn);
      readings += 1;
      vi.advanceTimersByTime(READING_MS);
      if ("gap" in reading) throw new Error("It is all in memory");
      if (reading.entries.last === journal.last) return;
    }
  };
  let isOver = false as boolean;
  /** As bytes that arrive from a kernel: once in each turn of the event loop. */
  const kernel = async () => {
    while (!isOver) {
      inTurn = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const listening = kernel();
  await Promise.all(Array.from({ length: READERS }, read));
  isOver = true;
  await listening;

  expect(readings).toBeGreaterThan(2 * READERS);
  expect(most).toBe(3); // the third begins within the time
});
