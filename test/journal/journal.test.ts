import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { compose, type Message } from "../../src/jupyter/message.ts";
import { silentLog } from "../../src/log/log.ts";
import type { Entry } from "../../src/journal/entry.ts";
import {
  Journal,
  type JournalOptions,
  type Reading,
} from "../../src/journal/journal.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import { fromChunk, NO_MARK, toChunk } from "../../src/journal/chunk.ts";
import { withRecord } from "../../src/jupyter/record.ts";
import { runAtOnce } from "../../src/time/request-scheduler.ts";
import { Entries } from "../../src/journal/entries.ts";
import type { File, OpenFile } from "../../src/journal/blocks.ts";
import { eventually } from "../harness.ts";

const KB = 1024;
let folder: string;
let directory: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "kallichore-journal-"));
  directory = join(folder, "private");
});
afterEach(() => {
  vi.useRealTimers();
  rmSync(folder, { recursive: true, force: true });
});

function journalOf(options: Partial<JournalOptions> = {}): Journal {
  return new Journal({
    memory: 8 * KB,
    disk: 1024 * KB,
    budget: new MemoryBudget(1024 * KB),
    diskBudget: new DiskBudget(10_240 * KB),
    directory: () => {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      return directory;
    },
    log: silentLog(),
    ...options,
  });
}

function message(text: string, buffers: readonly Uint8Array[] = []): Message {
  return compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stdout", text },
    session: "s",
    username: "u",
    buffers,
  });
}

/** All properties of an entry. */
function whole(entry: Entry): unknown {
  const { seq, size } = entry;
  const json = entry.text.toString();
  if (entry.isEvent) return { seq, size, json };
  const { channel, msg_type, msg_id, parent_id, raw, buffers } = entry;
  const frames = Object.values(raw).map((frame) =>
    Buffer.from(frame).toString("hex"),
  );
  const hex = buffers.map((buffer) => buffer.toString("hex"));
  return { seq, size, json, channel, msg_type, msg_id, parent_id, frames, hex };
}

/** The maximum size of the names in a slab: there are two of them. */
const NAMES = 256;

/** Reads from after `after` to the newest number, one reading at a time. */
async function readAll(journal: Journal, after = 0): Promise<Reading[]> {
  const readings: Reading[] = [];
  for (let seen = after; seen < journal.last;) {
    const reading = await journal.read(seen);
    if (reading === undefined) break;
    if ("entries" in reading) reading.entries.slab.pin(); // until the test ends
    readings.push(reading);
    seen = endOf(reading);
  }
  return readings;
}

function endOf(reading: Reading): number {
  return "gap" in reading ? reading.gap.to : reading.entries.last;
}

function entriesIn(readings: readonly Reading[]): Entry[] {
  return readings.flatMap((reading) =>
    "gap" in reading ? [] : [...reading.entries],
  );
}

function gapsIn(readings: readonly Reading[]): { from: number; to: number }[] {
  return readings.flatMap((reading) => ("gap" in reading ? [reading.gap] : []));
}

/** Each number after `after` once and in order, as an entry or in a gap. */
function expectDense(readings: readonly Reading[], after: number): void {
  let seen = after;
  for (const reading of readings) {
    if ("gap" in reading) {
      expect(reading.gap.from).toBe(seen + 1);
      expect(reading.gap.to).toBeGreaterThan(seen);
      seen = reading.gap.to;
      continue;
    }
    expect(reading.entries.length).toBeGreaterThan(0);
    for (const { seq } of reading.entries) expect(seq).toBe((seen += 1));
  }
}

test("an entry from disk has the same bytes", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.record({
          text: fc.string({ unit: "binary" }),
          buffers: fc.array(fc.uint8Array()),
          isEvent: fc.boolean(),
        }),
      ),
      (drafts) => {
        using made = disposable(journalOf({ disk: 0 }));
        const entries = drafts.map(({ text, buffers, isEvent }) =>
          isEvent
            ? made.journal.appendEvent({
                kind: "output",
                stream: "stdout",
                text,
              })
            : made.journal.append(message(text, buffers)),
        );
        const facts = {
          journal_id: made.journal.id,
          mark: NO_MARK,
          continues: false,
        };
        const back = entries.map(({ slab, row }) => {
          const parts = slab.partsOf(row, row + 1);
          const chunk = runAtOnce(
            fromChunk(Buffer.concat(runAtOnce(toChunk(parts, facts)))),
          );
          return [...new Entries(chunk, 0, chunk.count)].map(whole);
        });
        expect(back.flat()).toEqual(entries.map(whole));
      },
    ),
  );
});

function disposable(journal: Journal) {
  return {
    journal,
    [Symbol.dispose]: () => void journal[Symbol.asyncDispose](),
  };
}

test("entries that do not fit into memory are read from private files", async () => {
  await using journal = journalOf();
  const appended: unknown[] = [];
  for (let n = 0; n < 200; n += 1) {
    appended.push(
      whole(journal.append(message(`${n}`.repeat(50), [Buffer.from([n])]))),
    );
    await journal.writeDown();
  }
  const readings = await readAll(journal);
  expect(entriesIn(readings).map(whole)).toEqual(appended);
  expect(journal.bytes).toBeLessThanOrEqual(8 * KB);
  expect(journal.diskBytes).toBeGreaterThan(0);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  for (const name of readdirSync(directory)) {
    expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
  }
});

test("a reader of the newest entries never reads the disk", async () => {
  let reads = 0;
  const counting: OpenFile = (path, flags, mode) => {
    if (flags === "r") reads += 1;
    return open(path, flags, mode);
  };
  await using journal = journalOf({ open: counting });
  for (let n = 1; n <= 200; n += 1) {
    journal.append(message("x".repeat(100)));
    const reading = journal.read(n - 1);
    expect(reading).toMatchObject({ entries: { last: n } });
    await journal.writeDown();
  }
  expect(journal.diskBytes).toBeGreaterThan(0);
  expect(reads).toBe(0);
});

test("a file that was not read for a second is closed, and opened again by the next read", async () => {
  const calls: string[] = [];
  let close: () => void = () => {};
  const closed = new Promise<void>((resolve) => (close = resolve));
  const noting: OpenFile = async (path, flags, mode) => {
    const file = await open(path, flags, mode);
    if (flags !== "r") return file;
    calls.push("open");
    return Object.assign(Object.create(file) as File, {
      read: file.read.bind(file),
      close() {
        calls.push("close");
        close();
        return file.close();
      },
    });
  };
  await using journal = journalOf({ open: noting });
  journal.append(message("on disk"));
  await journal.writeDown();
  journal.evict(Infinity, "written");
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  const read = async () => entriesIn(await readAll(journal)).length;
  expect(await read()).toBe(1);
  vi.advanceTimersByTime(999);
  expect(await read()).toBe(1);
  vi.advanceTimersByTime(999);
  expect(calls).toEqual(["open"]);
  vi.advanceTimersByTime(1);
  await closed;
  expect(await read()).toBe(1);
  expect(calls).toEqual(["open", "close", "open"]);
});

test("a message with a prepared record has the same text, in memory and on disk", async () => {
  const MB = 1024 * KB;
  const drafts = ["a", "b".repeat(5 * MB), "\u00e9", "c".repeat(6 * MB)].map(
    (text, at) => message(text, at % 2 === 0 ? [] : [Buffer.alloc(at, "x")]),
  );
  const limits = { memory: 16 * MB, disk: 64 * MB };
  const budgets = () => ({
    budget: new MemoryBudget(64 * MB),
    diskBudget: new DiskBudget(640 * MB),
  });
  await using plain = journalOf({ ...limits, ...budgets() });
  await using made = journalOf({ ...limits, ...budgets() });
  for (const draft of drafts) {
    plain.append(draft);
    const isLarge = draft.raw.content.length > MB;
    const entry = made.append(isLarge ? runAtOnce(withRecord(draft)) : draft);
    expect(entry.raw.content.length).toBe(draft.raw.content.length);
  }
  const expected = entriesIn(await readAll(plain)).map(whole);
  expect(entriesIn(await readAll(made)).map(whole)).toEqual(expected);
  await made.writeDown();
  made.evict(Infinity, "written");
  const last = entriesIn(await readAll(made)).map(whole);
  expect(last).toEqual(expected);
});

test("entries can be read at any time while they go from memory to disk", async () => {
  const MB = 1024 * KB;
  await using journal = journalOf({
    memory: 32 * MB,
    disk: 256 * MB,
    budget: new MemoryBudget(64 * MB),
    diskBudget: new DiskBudget(2560 * MB),
  });
  for (let n = 0; n < 3; n += 1) {
    journal.append(runAtOnce(withRecord(message("x".repeat(12 * MB)))));
  }
  for (let turns = 0; turns < 10; turns += 1) {
    const read = await readAll(journal);
    expect(gapsIn(read)).toEqual([]);
    expect(entriesIn(read)).toHaveLength(3);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(journal.lost).toBe(0);
});

test("beyond the limit on disk the oldest file is removed, and the gap has its numbers", async () => {
  await using journal = journalOf({ disk: 32 * KB });
  for (let n = 0; n < 1000; n += 1) {
    journal.append(message("x".repeat(100)));
    await journal.writeDown();
  }
  const { first } = journal;
  expect(first).toBeGreaterThan(1);
  expect(journal.diskBytes).toBeLessThanOrEqual(32 * KB);
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([{ from: 1, to: first - 1 }]);
  const sizes = readdirSync(directory).map(
    (name) => statSync(join(directory, name)).size,
  );
  expect(sizes.reduce((sum, size) => sum + size, 0)).toBe(journal.diskBytes);
});

test.each([
  ["the limit removed meanwhile", 0],
  ["another program removed", 1],
] as const)(
  "the entries of a file that %s are a gap; errors logged: %i",
  async (_who, errors) => {
    const log = silentLog();
    const logged = vi.spyOn(log, "error");
    let release = () => {};
    const gate = new Promise<void>((resolve) => (release = resolve));
    const lateRead: OpenFile = async (path, flags, mode) => {
      if (flags === "r") await gate;
      return open(path, flags, mode);
    };
    await using journal = journalOf({ log, disk: 32 * KB, open: lateRead });
    const fill = async () => {
      for (let n = 0; n < 200; n += 1) {
        journal.append(message("x".repeat(100)));
        await journal.writeDown();
      }
    };
    await fill();
    const { first } = journal;
    const reading = journal.read(first - 1);
    if (errors === 0) await fill();
    else {
      for (const name of readdirSync(directory)) rmSync(join(directory, name));
    }
    release();
    expect(await reading).toMatchObject({ gap: { from: first } });
    expect(logged).toHaveBeenCalledTimes(errors);
  },
);

test("when a journal ends, no bytes are left on disk or in the budget", async () => {
  const budget = new MemoryBudget(1024 * KB);
  const journal = journalOf({ budget });
  for (let n = 0; n < 200; n += 1) journal.append(message("x".repeat(100)));
  const disposed = journal[Symbol.asyncDispose](); // during a write
  journal.append(message("late"));
  await disposed;
  expect(readdirSync(directory)).toEqual([]);
  expect(budget.used).toBe(0);
});

test("if the disk fails, the oldest entries are lost, with one warning", async () => {
  const log = silentLog();
  const error = vi.spyOn(log, "error");
  const failing: OpenFile = () => Promise.reject(new Error("EIO"));
  await using journal = journalOf({ log, open: failing });
  for (let n = 0; n < 500; n += 1) {
    journal.append(message("x".repeat(100)));
    await turn();
  }
  expect(journal.bytes).toBeLessThanOrEqual(8 * KB);
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([{ from: 1, to: journal.first - 1 }]);
  expect(error).toHaveBeenCalledTimes(1);
});

test("a disk that works again is used again, and only the entries lost meanwhile are a gap", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  let isBroken = false;
  const flaky: OpenFile = async (path, flags, mode) => {
    const file = await open(path, flags, mode);
    return {
      read: file.read.bind(file),
      truncate: file.truncate.bind(file),
      close: () => file.close(),
      writev: (...args: Parameters<File["writev"]>) =>
        isBroken ? Promise.reject(new Error("EIO")) : file.writev(...args),
    };
  };
  await using journal = journalOf({ open: flaky });
  const flood = async () => {
    for (let n = 0; n < 200; n += 1) {
      journal.append(message("x".repeat(100)));
      await journal.writeDown();
    }
  };
  await flood();
  isBroken = true;
  await flood();
  isBroken = false;
  vi.advanceTimersByTime(60_000);
  await flood();
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(journal.first).toBe(1);
  expect(gapsIn(readings)).toHaveLength(1);
  expect(gapsIn(readings)[0]?.from).toBeGreaterThan(100);
  expect(gapsIn(readings)[0]?.to).toBeLessThan(401);
});

test("the newest entry stays in memory until it is on disk, and no other does", async () => {
  await using journal = journalOf();
  for (let n = 0; n < 3; n += 1) journal.append(message("x".repeat(KB)));
  journal.evict(Infinity, "any");
  const readings = await readAll(journal);
  expect(gapsIn(readings)).toEqual([{ from: 1, to: 2 }]);
  expect(entriesIn(readings)).toHaveLength(1);
  await journal.writeDown();
  journal.evict(Infinity, "written");
  expect(journal.bytes).toBe(0);
  expect(entriesIn(await readAll(journal))).toHaveLength(1);
});

test("entries in memory survive a failed write, and are written later", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  let isBroken = true;
  const flaky: OpenFile = (path, flags, mode) =>
    isBroken ? Promise.reject(new Error("EIO")) : open(path, flags, mode);
  await using journal = journalOf({ open: flaky });
  journal.append(message("the first"));
  const { unwritten } = journal;
  await journal.writeDown();
  expect(journal.lost).toBe(0);
  expect(journal.unwritten).toBe(unwritten);
  isBroken = false;
  vi.advanceTimersByTime(60_000);
  await flood(journal, 200);
  expect(journal.bytes).toBeLessThanOrEqual(8 * KB);
  expect(gapsIn(await readAll(journal))).toEqual([]);
});

test("on a full disk the oldest file is removed, and writing continues", async () => {
  const room = 24 * KB;
  const full = diskWith(room);
  await using journal = journalOf({ open: full, disk: 64 * KB });
  for (let n = 0; n < 1000; n += 1) {
    journal.append(message("x".repeat(100)));
    await journal.writeDown();
  }
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([{ from: 1, to: journal.first - 1 }]);
  expect(journal.diskBytes).toBeGreaterThan(room / 2);
});

/** A disk that accepts this many bytes; of a write that does not fit it accepts the part that fits. */
function diskWith(room: number): OpenFile {
  return async (path, flags, mode) => {
    const file = await open(path, flags, mode);
    return {
      read: file.read.bind(file),
      truncate: file.truncate.bind(file),
      close: () => file.close(),
      writev: async (pieces, position) => {
        const left = room - sizeOnDisk();
        if (left <= 0) {
          throw Object.assign(new Error("no space"), { code: "ENOSPC" });
        }
        const bytes = Buffer.concat(pieces).subarray(0, left);
        return file.writev([bytes], position);
      },
    };
  };
}

function sizeOnDisk(): number {
  return readdirSync(directory).reduce(
    (sum, name) => sum + statSync(join(directory, name)).size,
    0,
  );
}

test("a stalled disk delays no reader, and memory stays bounded", async () => {
  let release = () => {};
  const gate = new Promise<void>((resolve) => (release = resolve));
  const stuck: OpenFile = async (path, flags, mode) => {
    await gate;
    return open(path, flags, mode);
  };
  await using journal = journalOf({ open: stuck });
  try {
    for (let n = 0; n < 1000; n += 1) {
      journal.append(message("x".repeat(100)));
      await turn();
    }
    expect(journal.bytes).toBeLessThanOrEqual(25 * KB); // three times its memory, and a slab
    const readings = await readAll(journal);
    expectDense(readings, 0);
    expect(entriesIn(readings).length).toBeGreaterThan(10);
  } finally {
    release();
  }
});

/** A disk whose writes wait for `write` to be called. */
function slowDisk(): { open: OpenFile; write: () => Promise<void> } {
  const waiting: (() => void)[] = [];
  return {
    open: async (path, flags, mode) => {
      const file = await open(path, flags, mode);
      const writev = async (...args: Parameters<File["writev"]>) => {
        await new Promise<void>((resolve) => waiting.push(resolve));
        return file.writev(...args);
      };
      return {
        truncate: file.truncate.bind(file),
        close: () => file.close(),
        read: file.read.bind(file),
        writev,
      };
    },
    write: async () => {
      await vi.waitFor(() => expect(waiting).not.toEqual([]));
      waiting.shift()?.();
    },
  };
}

/** Resolves when the server may read from the kernel. */
async function untilReadable(
  disk: { write: () => Promise<void> },
  journal: Journal,
): Promise<void> {
  for (;;) {
    const behind = journal.backpressure();
    if (behind === undefined) return;
    await Promise.all([behind, disk.write()]);
  }
}

/** Resolves when the disk has written everything that the journal has. */
async function writtenTo(
  disk: { write: () => Promise<void> },
  journal: Journal,
): Promise<void> {
  const written = journal.writeDown();
  let isWritten = false as boolean;
  void written.then(() => (isWritten = true));
  while (!isWritten) await Promise.race([written, disk.write()]);
}

test("the writer of a burst of large entries waits for a slow disk, and no entry is lost", async () => {
  const disk = slowDisk();
  await using journal = journalOf({
    memory: 256 * KB,
    open: disk.open,
  });
  const burst = "x".repeat(24 * KB);
  for (let n = 0; n < 40; n += 1) {
    await untilReadable(disk, journal);
    journal.append(message(burst));
  }
  expect(journal.lost).toBe(0);
  expect(journal.bytes).toBeLessThanOrEqual(256 * KB);
  await writtenTo(disk, journal);
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([]);
});

test("small entries wait for a slow disk beyond the journal's memory, and none is lost", async () => {
  const disk = slowDisk();
  await using journal = journalOf({ memory: 64 * KB, open: disk.open });
  for (let n = 0; n < 300; n += 1) journal.append(message("x".repeat(100)));
  expect(journal.bytes).toBeGreaterThan(96 * KB);
  await writtenTo(disk, journal);
  expect(journal.lost).toBe(0);
  expect(journal.bytes).toBeLessThanOrEqual(64 * KB);
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([]);
});

test("small entries do not wait beyond the journal's memory if other journals need the server's", async () => {
  const disk = slowDisk();
  const budget = new MemoryBudget(256 * KB);
  await using neighbour = journalOf({ memory: 256 * KB, disk: 0, budget });
  while (budget.used < 192 * KB) neighbour.append(message("x".repeat(1000)));
  await using journal = journalOf({
    memory: 16 * KB,
    open: disk.open,
    budget,
  });
  for (let n = 0; n < 300; n += 1) journal.append(message("x".repeat(100)));
  expect(journal.bytes).toBeLessThanOrEqual(17 * KB);
  expect(journal.lost).toBeGreaterThan(0);
  expect(neighbour.first).toBe(1);
  await disk.write();
});

test("an entry larger than the memory is written to disk, with any entries before and after it", async () => {
  await using journal = journalOf();
  journal.append(message("before"));
  journal.append(message("x".repeat(20 * KB)));
  for (let n = 0; n < 8; n += 1) journal.append(message("after"));
  expect(journal.lost).toBe(0);
  await journal.writeDown();
  expect(journal.bytes).toBeLessThanOrEqual(8 * KB);
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([]);
  expect([journal.lost, journal.unwritten, journal.exempt]).toEqual([0, 0, 0]);
});

test("it may be larger than one read, than a file, and than the memory of all journals", async () => {
  const budget = new MemoryBudget(64 * KB);
  const open = { disk: 64 * 1024 * KB, budget };
  await using neighbour = journalOf({ ...open, disk: 0 });
  for (let n = 0; n < 10; n += 1) neighbour.append(message("kept"));
  await using journal = journalOf({
    ...open,
    diskBudget: new DiskBudget(64 * 1024 * KB),
  });
  const large = "x".repeat(5 * 1024 * KB); // a block is 256 KiB, a file ends at 4 MiB
  for (let n = 0; n < 3; n += 1) {
    journal.append(message("before"));
    journal.append(message(large));
    journal.append(message("after"));
    await journal.backpressure();
    await journal.writeDown();
  }
  expect(budget.used).toBeLessThanOrEqual(64 * KB);
  const readings = await readAll(journal);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([]);
  expect(neighbour.first).toBe(1); // it does not lose entries for the other one
});

test("the writer of several such entries waits for the disk, and memory holds only one besides the one being written", async () => {
  const disk = slowDisk();
  await using journal = journalOf({ open: disk.open });
  for (let n = 0; n < 5; n += 1) {
    await untilReadable(disk, journal);
    journal.append(message("x".repeat(20 * KB)));
    expect(journal.bytes).toBeLessThanOrEqual(50 * KB);
  }
  await writtenTo(disk, journal);
  expect(journal.lost).toBe(0);
  expect(gapsIn(await readAll(journal))).toEqual([]);
});

test("without a disk, or if it fails, memory stays bounded and the gap is reported", async () => {
  const failing: OpenFile = () => Promise.reject(new Error("EIO"));
  for (const options of [{ disk: 0 }, { open: failing }]) {
    await using journal = journalOf(options);
    journal.append(message("x".repeat(20 * KB)));
    await journal.writeDown();
    expect(journal.first).toBe(1); // the newest is kept, at any size
    journal.append(message("after"));
    expect(journal.bytes).toBeLessThanOrEqual(8 * KB);
    const readings = await readAll(journal);
    expectDense(readings, 0);
    expect(gapsIn(readings)).toEqual([{ from: 1, to: 1 }]);
  }
});

test("after a flood with a working disk no entry is lost, and the writer does not wait", async () => {
  await using journal = journalOf();
  for (let n = 0; n < 500; n += 1) {
    journal.append(message("x".repeat(100)));
    await journal.writeDown();
  }
  expect([journal.lost, journal.unwritten]).toEqual([0, 0]);
});

test("the reading from a kernel waits at most a second for a stalled disk", async () => {
  vi.useFakeTimers();
  const { open: stuck, write } = slowDisk();
  await using journal = journalOf({ memory: 256 * KB, open: stuck });
  for (let n = 0; n < 10; n += 1) journal.append(message("x".repeat(24 * KB)));
  const behind = journal.backpressure();
  expect(behind).toBeDefined();
  await vi.advanceTimersByTimeAsync(1_000);
  await behind;
  expect(journal.backpressure()).toBeUndefined();
  vi.useRealTimers();
  await write();
});

test.each([
  ["if there is none", { size: 24 * KB, count: 10, disk: 0 }],
  ["with small entries", { size: 100, count: 1000, disk: 1024 * KB }],
])(
  "the reading from a kernel does not wait for a disk %s",
  async (_, { size, count, disk }) => {
    await using journal = journalOf({ memory: 256 * KB, disk });
    for (let n = 0; n < count; n += 1) {
      journal.append(message("x".repeat(size)));
    }
    expect(journal.backpressure()).toBeUndefined();
  },
);

test("journals share the server's memory: a journal with a flood loses its own entries", async () => {
  const budget = new MemoryBudget(64 * KB);
  const options = { budget, memory: 64 * KB };
  await using quiet = journalOf(options);
  await using loud = journalOf(options);
  for (let n = 0; n < 20; n += 1) quiet.append(message("x".repeat(100)));
  const before = quiet.bytes;
  for (let n = 0; n < 1000; n += 1) {
    loud.append(message("x".repeat(100)));
    await loud.writeDown();
    expect(budget.used).toBeLessThanOrEqual(64 * KB);
  }
  expect(quiet.bytes).toBe(before);
  expectDense(await readAll(loud), 0);
  expect(gapsIn(await readAll(loud))).toEqual([]);
  expect(gapsIn(await readAll(quiet))).toEqual([]);
});

test("journals share the server's disk space: a journal with a flood removes its own entries, and reports it", async () => {
  const log = silentLog();
  const warn = vi.spyOn(log, "warn");
  const diskBudget = new DiskBudget(64 * KB);
  await using quiet = journalOf({ diskBudget });
  await using loud = journalOf({ diskBudget, log });
  await flood(quiet, 40);
  const before = quiet.diskBytes;
  expect(before).toBeGreaterThan(0);
  for (let n = 0; n < 20; n += 1) {
    await flood(loud, 100);
    expect(diskBudget.used).toBe(quiet.diskBytes + loud.diskBytes);
    expect(diskBudget.used).toBeLessThanOrEqual(64 * KB);
  }
  expect(quiet.diskBytes).toBe(before);
  expect(gapsIn(await readAll(quiet))).toEqual([]);
  const readings = await readAll(loud);
  expectDense(readings, 0);
  expect(gapsIn(readings)).toEqual([{ from: 1, to: loud.first - 1 }]);
  expect(warn).toHaveBeenCalledTimes(1);
  expect(warn.mock.calls[0]?.[0]).toMatch(/removes its oldest.+all sessions/);
  expect(sizeOnDisk()).toBe(diskBudget.used);
});

test.each([
  ["on disk", { disk: 1024 * KB, diskBudget: new DiskBudget(64 * KB) }],
  ["in memory", { disk: 0, budget: new MemoryBudget(64 * KB) }],
])(
  "%s, entries that all readers have acknowledged go first",
  async (_, limits) => {
    const options = { memory: limits.disk === 0 ? 64 * KB : 8 * KB, ...limits };
    await using received = journalOf(options);
    await using awaited = journalOf(options);
    await flood(received, 100);
    const away = new AbortController();
    let came = 0;
    const reading = (async () => {
      for await (const found of received.follow(0, away.signal)) {
        came = endOf(found);
      }
    })();
    await vi.waitFor(() => expect(came).toBe(received.last));
    away.abort();
    await reading;
    await flood(received, 5);
    await flood(awaited, 80);
    expect(gapsIn(await readAll(awaited))).toEqual([]);
    expect(received.first).toBeGreaterThan(1);
    expect(gapsIn(await readAll(received, came))).toEqual([]);
  },
);

test("many journals with few bytes on disk are bounded together", async () => {
  const diskBudget = new DiskBudget(64 * KB);
  const journals = Array.from({ length: 100 }, () =>
    journalOf({ diskBudget, memory: 512 }),
  );
  try {
    await Promise.all(journals.map((journal) => flood(journal, 20)));
    expect(diskBudget.used).toBeGreaterThan(32 * KB);
    expect(diskBudget.used).toBeLessThanOrEqual(64 * KB);
    expect(sizeOnDisk()).toBe(diskBudget.used);
    for (const journal of journals) expectDense(await readAll(journal), 0);
  } finally {
    for (const journal of journals) await journal[Symbol.asyncDispose]();
  }
  expect(diskBudget.used).toBe(0);
  expect(readdirSync(directory)).toEqual([]);
});

test("journals share a full disk: a journal with few bytes can still write", async () => {
  const diskBudget = new DiskBudget(10_240 * KB);
  const full = diskWith(48 * KB);
  const options = { diskBudget, open: full, disk: 64 * KB };
  await using loud = journalOf(options);
  await using quiet = journalOf(options);
  await flood(loud, 500);
  const before = loud.diskBytes;
  await flood(quiet, 40);
  expect(loud.diskBytes).toBeLessThan(before);
  expectDense(await readAll(quiet), 0);
  expect(gapsIn(await readAll(quiet))).toEqual([]);
  expectDense(await readAll(loud), 0);
  expect(sizeOnDisk()).toBe(diskBudget.used);
});

/** Appends small messages, and waits for the write of each. */
async function flood(journal: Journal, count: number): Promise<void> {
  for (let n = 0; n < count; n += 1) {
    journal.append(message("x".repeat(100)));
    await journal.writeDown();
  }
}

type Step =
  | { readonly kind: "append"; readonly size: number; readonly buffer: number }
  | { readonly kind: "event" }
  | { readonly kind: "other"; readonly size: number }
  | { readonly kind: "reader"; readonly after: number }
  | { readonly kind: "turn" }
  | { readonly kind: "disk"; readonly fails: "no" | "EIO" | "ENOSPC" }
  | { readonly kind: "wait" };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("append"),
      size: fc.nat(3000),
      buffer: fc.nat(2000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("event") }) },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant("other"), size: fc.nat(3000) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant("reader"), after: fc.nat(60) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("turn") }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("wait") }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("disk"),
      fails: fc.constantFrom("no", "EIO", "ENOSPC"),
    }),
  },
);

test("every reader gets each number once and in order, or a gap", async () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        memory: fc.integer({ min: 1, max: 20_000 }),
        disk: fc.constantFrom(0, 5_000, 50_000, 10_000_000),
        shared: fc.integer({ min: 1, max: 40_000 }),
        sharedDisk: fc.constantFrom(0, 1_000, 30_000, 10_000_000),
        steps: fc.array(step, { maxLength: 120, size: "max" }),
      }),
      async ({ memory, disk, shared, sharedDisk, steps }) => {
        let fails: "no" | "EIO" | "ENOSPC" = "no";
        const faulty: OpenFile = async (path, flags, mode) => {
          const file = await open(path, flags, mode);
          const fail = () =>
            Promise.reject(Object.assign(new Error(fails), { code: fails }));
          return {
            truncate: file.truncate.bind(file),
            close: () => file.close(),
            read: (...args: Parameters<File["read"]>) =>
              fails === "EIO" ? fail() : file.read(...args),
            writev: (...args: Parameters<File["writev"]>) =>
              fails === "no" ? file.writev(...args) : fail(),
          };
        };
        const budget = new MemoryBudget(shared);
        const diskBudget = new DiskBudget(sharedDisk);
        const options = { memory, disk, budget, diskBudget, open: faulty };
        const journal = journalOf(options);
        const other = journalOf(options);
        const appended = new Map<number, unknown>();
        const readers: Received[] = [];
        const stop = new AbortController();
        const following: Promise<void>[] = [];
        let largest = 0;
        const follow = (after: number) => {
          const start = Math.min(after, journal.last);
          const reader: Received = { start, last: start, entries: new Map() };
          readers.push(reader);
          following.push(
            collect(journal, reader, AbortSignal.any([stop.signal])),
          );
        };
        const keep = (entry: Entry) => {
          appended.set(entry.seq, whole(entry));
          largest = Math.max(largest, entry.size);
          expect(journal.bytes).toBeLessThanOrEqual(
            3 * memory + largest + NAMES,
          );
          expect(budget.used).toBe(journal.bytes + other.bytes);
          // Each of the two may keep its newest entry, and a large one until it is on disk.
          expect(budget.used).toBeLessThanOrEqual(
            shared + 4 * (largest + NAMES),
          );
        };
        try {
          for (const what of steps) {
            switch (what.kind) {
              case "append":
                keep(
                  journal.append(
                    message("é".repeat(what.size / 2), [
                      Buffer.alloc(what.buffer, 1),
                    ]),
                  ),
                );
                break;
              case "event":
                keep(
                  journal.appendEvent({
                    kind: "status",
                    status: "busy",
                    reason: null,
                  }),
                );
                break;
              case "other":
                largest = Math.max(
                  largest,
                  other.append(message("x".repeat(what.size))).size,
                );
                break;
              case "reader":
                follow(what.after);
                break;
              case "turn":
                await turn();
                break;
              case "wait":
                vi.advanceTimersByTime(20_000);
                break;
              case "disk":
                fails = what.fails;
            }
          }
          follow(0);
          await eventually("every reader at the end", () =>
            readers.every(({ last }) => last >= journal.last)
              ? true
              : undefined,
          );
        } finally {
          stop.abort();
          await Promise.all(following);
          await journal[Symbol.asyncDispose]();
          await other[Symbol.asyncDispose]();
          expect(diskBudget.used).toBe(0);
        }
        for (const { entries } of readers) {
          for (const [seq, entry] of entries) {
            expect(entry).toEqual(appended.get(seq));
          }
        }
        expect(journal.readers).toBe(0);
        expect(budget.used).toBe(0);
        expect(() => readdirSync(directory)).not.toContain("journal");
      },
    ),
    { numRuns: Number(process.env["JOURNAL_RUNS"] ?? 100) },
  );
});

test("memory of slabs is reused, and no reader sees the later content", async () => {
  await using journal = journalOf({
    memory: 4 * 1024 * KB, // slabs of 256 KiB, which are used again
    disk: 256 * 1024 * KB,
    diskBudget: new DiskBudget(256 * 1024 * KB),
    budget: new MemoryBudget(64 * 1024 * KB),
  });
  const count = 3_000;
  const textOf = (seq: number) => `${seq} `.repeat((seq * 37) % 4_000);
  const read = async (pause: () => Promise<void>) => {
    let seen = 0;
    for await (const reading of journal.follow(
      0,
      AbortSignal.timeout(60_000),
    )) {
      if ("gap" in reading) throw new Error("It is all on disk");
      await pause();
      for (const { seq, text } of reading.entries) {
        const { content } = JSON.parse(text.toString()) as {
          content: { text: string };
        };
        expect(content.text === textOf(seq), `number ${seq}`).toBe(true);
        expect(seq).toBe((seen += 1));
      }
      if (seen === count) return;
    }
  };
  const pauses = [async () => {}, turn, () => delay(3)];
  const readers = pauses.map(read);
  for (let seq = 1; seq <= count; seq += 1) {
    journal.append(message(textOf(seq)));
    if (seq % 50 === 0) {
      await turn();
      await journal.writeDown();
    }
  }
  await Promise.all([...readers, ...pauses.map(read)]); // late readers read the disk together
  expect(journal.first).toBe(1);
});

/** The readings of a reader. */
interface Received {
  readonly start: number;
  last: number;
  readonly entries: Map<number, unknown>;
}

async function collect(
  journal: Journal,
  reader: Received,
  signal: AbortSignal,
): Promise<void> {
  for await (const reading of journal.follow(reader.start, signal)) {
    await turn(); // it is valid until the next request
    expectDense([reading], reader.last);
    for (const entry of entriesIn([reading])) {
      reader.entries.set(entry.seq, whole(entry));
    }
    reader.last = endOf(reading);
    await turn();
  }
}

/** Lets the event loop run, and with it some of the disk's work. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
