/** When a session writes checkpoints. */
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Journal } from "../../src/journal/journal.ts";
import { CheckpointWriter } from "../../src/session/checkpoints.ts";
import type { SavedCheckpoint } from "../../src/session/store.ts";

const MIB = 1024 * 1024;

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

/** A session whose journal is numbers only. */
class Pace {
  readonly journal = {
    writtenBytes: 0,
    isDurable: true,
    flushed: () => Promise.resolve(),
  };
  /** The journal's bytes at each checkpoint. */
  readonly written: number[] = [];
  /** Bytes of a checkpoint. */
  size: number | undefined = 1000;
  canTake = true;
  readonly writer: CheckpointWriter;

  constructor(limit = 1024 * MIB) {
    this.writer = new CheckpointWriter({
      journal: this.journal as unknown as Journal,
      limit,
      take: () =>
        this.canTake
          ? { seq: this.journal.writtenBytes, json: {}, blobs: [] }
          : undefined,
      checkpoints: {
        found: async function* (): AsyncGenerator<SavedCheckpoint> {},
        write: ({ seq }) => {
          this.written.push(seq / MIB);
          return Promise.resolve(this.size);
        },
      },
    });
  }

  /** The journal writes so many MiB, and time passes. */
  async writes(megabytes: number, ms: number): Promise<void> {
    this.journal.writtenBytes += megabytes * MIB;
    this.writer.written();
    await vi.advanceTimersByTimeAsync(ms);
  }
}

test("after each MiB, and at most once a second", async () => {
  const pace = new Pace();
  await pace.writes(0.9, 5_000);
  expect(pace.written).toEqual([]);
  await pace.writes(0.1, 1);
  expect(pace.written).toEqual([1]);
  for (let count = 0; count < 10; count += 1) await pace.writes(1, 90);
  expect(pace.written).toEqual([1]);
  await pace.writes(0, 200); // the flood is over
  expect(pace.written).toEqual([1, 11]);
  await pace.writes(0, 60_000);
  expect(pace.written).toEqual([1, 11]);
});

test("less often if a checkpoint is large, and more often if the journal is small", async () => {
  const large = new Pace();
  large.size = MIB;
  for (let count = 0; count < 20; count += 1) await large.writes(1, 2_000);
  expect(large.written).toEqual([1, 9, 17]);
  const small = new Pace(4 * MIB);
  small.size = MIB;
  for (let count = 0; count < 6; count += 1) await small.writes(0.25, 2_000);
  expect(small.written).toEqual([0.5, 1, 1.5]);
});

test("what was read for a restore counts as not covered by a checkpoint", async () => {
  const pace = new Pace();
  pace.writer.restored(0.9 * MIB);
  await pace.writes(0, 2_000);
  expect(pace.written).toEqual([]);
  await pace.writes(0.1, 1);
  expect(pace.written).toEqual([0.1]);
  const long = new Pace();
  long.writer.restored(20 * MIB);
  await vi.advanceTimersByTimeAsync(1);
  expect(long.written).toEqual([0]);
});

test("when there can be none, it is tried again; when one cannot be written, after the next MiB", async () => {
  const pace = new Pace();
  pace.canTake = false;
  await pace.writes(1, 3_000);
  pace.canTake = true;
  pace.journal.isDurable = false;
  await pace.writes(0, 3_000);
  expect(pace.written).toEqual([]);
  pace.journal.isDurable = true;
  pace.size = undefined;
  await pace.writes(0, 1_001);
  expect(pace.written).toEqual([1]);
  await pace.writes(0, 60_000);
  expect(pace.written).toEqual([1]);
  await pace.writes(1, 1_001);
  expect(pace.written).toEqual([1, 2]);
});

test("none of entries that could not be written after all, and none after the close", async () => {
  const pace = new Pace();
  pace.journal.flushed = () => {
    pace.journal.isDurable = false;
    return Promise.resolve();
  };
  await pace.writes(1, 1_001);
  expect(pace.written).toEqual([]);
  const closed = new Pace();
  closed.journal.writtenBytes = MIB;
  closed.writer.written();
  await closed.writer.close();
  await closed.writes(5, 10_000);
  expect(closed.written).toEqual([]);
});
