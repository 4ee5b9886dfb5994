import {
  cpSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { Mark } from "../../src/journal/chunk.ts";
import type { File, OpenFile } from "../../src/journal/blocks.ts";
import { DiskBudget } from "../../src/journal/disk-budget.ts";
import { findSegments, FootersAhead } from "../../src/journal/found.ts";
import { Journal, newJournalId } from "../../src/journal/journal.ts";
import { MemoryBudget } from "../../src/journal/memory-budget.ts";
import { compose, type Message } from "../../src/jupyter/message.ts";
import { silentLog } from "../../src/log/log.ts";
import { eventually } from "../harness.ts";

const KB = 1024;
const ID = newJournalId();
let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "kallichore-kept-"));
});
/** The journals of all processes: those that were killed are closed at the end. */
const journals: Journal[] = [];
afterEach(async () => {
  await Promise.all(journals.splice(0).map((journal) => journal.letGo()));
  rmSync(directory, { recursive: true, force: true });
});

interface Kept {
  readonly journal: Journal;
  readonly written: Mark[];
  readonly durable: boolean[];
  readonly removed: number;
}

/** Opens the journal in the directory as a process does at its start. */
async function opened(
  options: {
    disk?: number;
    memory?: number;
    open?: OpenFile;
    id?: string;
  } = {},
  at = directory,
): Promise<Kept> {
  const { disk = 10_240 * KB, memory = 1024 * KB, open, id = ID } = options;
  const found = await findSegments(at);
  const written: Mark[] = [];
  const durable: boolean[] = [];
  const journal = new Journal({
    memory,
    disk,
    budget: new MemoryBudget(10_240 * KB),
    diskBudget: new DiskBudget(10_240 * KB),
    directory: () => at,
    log: silentLog(),
    open,
    kept: {
      id,
      found,
      written: (mark) => written.push(mark),
      durable: (is) => durable.push(is),
    },
  });
  journals.push(journal);
  return { journal, written, durable, removed: found.removed };
}

function line(text: string): Message {
  return compose({
    channel: "iopub",
    msg_type: "stream",
    content: { name: "stdout", text },
    session: "s",
    username: "u",
  });
}

/** The texts of all entries, and the numbers of gaps. */
async function textsOf(journal: Journal): Promise<string[]> {
  const texts: string[] = [];
  for (let seen = 0; ;) {
    const reading = await journal.read(seen);
    if (reading === undefined) return texts;
    if ("gap" in reading) {
      texts.push(`gap ${reading.gap.from}-${reading.gap.to}`);
      seen = reading.gap.to;
      continue;
    }
    for (const entry of reading.entries) {
      expect(entry.seq).toBe(seen + 1);
      texts.push(String(entry.content?.["text"]));
      seen = entry.seq;
    }
  }
}

const texts = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `line ${from + n}`);

async function append(journal: Journal, from: number, to: number) {
  for (const text of texts(from, to)) journal.append(line(text));
  await eventually(
    "the entries are written",
    () => journal.last === journal.next - 1 || undefined,
  );
}

/** Appends entries of 4 KiB to an empty journal, each as a block of its own. */
async function appendBlocks(journal: Journal, count: number) {
  for (let n = 1; n <= count; n += 1) {
    journal.append(line("z".repeat(4 * KB)));
    await eventually(
      "the entries are written",
      () => journal.last === n || undefined,
    );
  }
}

test("the entries of an earlier process are read, and the numbers go on", async () => {
  const first = await opened();
  await append(first.journal, 1, 3);
  // The process is killed: nothing is closed.
  const second = await opened();
  expect(second.journal.last).toBe(3);
  expect(second.journal.id).toBe(first.journal.id);
  expect(await textsOf(second.journal)).toEqual(texts(1, 3));
  await append(second.journal, 4, 5);
  const third = await opened();
  expect(await textsOf(third.journal)).toEqual(texts(1, 5));
});

test.each(["ended", "was killed"])(
  "the newest file of a process that %s is continued while it is small",
  async (how) => {
    for (let process = 1; process <= 5; process += 1) {
      const { journal } = await opened();
      await append(journal, process, process);
      if (how === "ended") await journal.letGo();
    }
    expect(readdirSync(directory)).toEqual(["journal.0000000001"]);
    const last = await opened();
    expect(await textsOf(last.journal)).toEqual(texts(1, 5));
    // A large one is not.
    await append(last.journal, 6, 1_000);
    await last.journal.letGo();
    const next = await opened({ disk: 64 * KB });
    await append(next.journal, 1_001, 1_001);
    expect(readdirSync(directory)).not.toContain("journal.0000000001");
    expect(await textsOf(next.journal)).toContain("line 1001");
  },
);

test("a file with another id of the journal is not continued", async () => {
  const first = await opened();
  await append(first.journal, 1, 2);
  const second = await opened({ id: newJournalId() });
  await append(second.journal, 3, 4);
  expect(readdirSync(directory)).toEqual([
    "journal.0000000001",
    "journal.0000000002",
  ]);
  expect(await textsOf((await opened()).journal)).toEqual(texts(1, 4));
});

test("a file that cannot be opened again is left as it is", async () => {
  const first = await opened();
  await append(first.journal, 1, 2);
  await first.journal.letGo();
  const readOnly: OpenFile = (path, flags, mode) =>
    flags === "r+"
      ? Promise.reject(new Error("EACCES"))
      : open(path, flags, mode);
  const second = await opened({ open: readOnly });
  await append(second.journal, 3, 4);
  expect(await textsOf((await opened()).journal)).toEqual(texts(1, 4));
});

test("invariant 3a: a reader gets an entry only when it is written", async () => {
  let begin: () => void = () => {};
  const begun = new Promise<void>((resolve) => (begin = resolve));
  let release: () => void = () => {};
  const held = new Promise<void>((resolve) => (release = resolve));
  const slow: OpenFile = async (path, flags, mode) => {
    const file = (await open(path, flags, mode)) as File;
    return {
      read: (...args) => file.read(...args),
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
      async writev(pieces, position) {
        begin();
        await held;
        return file.writev(pieces, position);
      },
    };
  };
  const { journal, written } = await opened({ open: slow });
  journal.append(line("line 1"));
  journal.mark = { run: 1, event: 7 };
  await begun;
  await new Promise(setImmediate);
  const seen = [journal.last, journal.read(0), [...written]];
  release();
  expect(seen).toEqual([0, undefined, []]);
  await eventually(
    "the entries are written",
    () => journal.last === 1 || undefined,
  );
  expect(written).toEqual([{ run: 1, event: 7 }]);
  expect(await textsOf(journal)).toEqual(["line 1"]);
});

test("the mark of the last complete write comes back", async () => {
  const { journal, written } = await opened();
  journal.append(line("line 1"));
  journal.mark = { run: 2, event: 2 ** 40 };
  await eventually(
    "the entries are written",
    () => written.length > 0 || undefined,
  );
  expect((await opened()).journal.mark).toEqual({ run: 2, event: 2 ** 40 });
});

test("what one turn appends is restored whole or not at all", async () => {
  const { journal } = await opened();
  await append(journal, 1, 2);
  const before = statSync(join(directory, "journal.0000000001")).size;
  // More than a slab, in one turn: several chunks.
  const long = "x".repeat(100 * KB);
  for (let n = 3; n <= 9; n += 1) journal.append(line(long));
  await eventually(
    "the entries are written",
    () => journal.last === 9 || undefined,
  );
  const after = statSync(join(directory, "journal.0000000001")).size;
  for (const size of [before + 1, before + 300 * KB, after - 1]) {
    const copy = mkdtempSync(join(tmpdir(), "kallichore-kept-"));
    try {
      cpSync(directory, copy, { recursive: true });
      truncateSync(join(copy, "journal.0000000001"), size);
      const cut = await opened({}, copy);
      expect(cut.journal.last).toBe(2);
      expect(cut.removed).toBe(size - before);
      await append(cut.journal, 3, 4);
      expect(await textsOf((await opened({}, copy)).journal)).toEqual(
        texts(1, 4),
      );
    } finally {
      rmSync(copy, { recursive: true, force: true });
    }
  }
});

test("a file that is cut off anywhere restores a beginning of the journal", async () => {
  const { journal } = await opened();
  for (let n = 1; n <= 6; n += 1) await append(journal, n, n);
  const name = join(directory, "journal.0000000001");
  const whole = readFileSync(name);
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 0, max: whole.length }), async (cut) => {
      writeFileSync(name, whole.subarray(0, cut));
      const again = await opened();
      const found = await textsOf(again.journal);
      expect(found).toEqual(texts(1, found.length));
      expect(again.journal.last).toBe(found.length);
      if (cut === whole.length) expect(found).toHaveLength(6);
    }),
    { numRuns: 60 },
  );
});

test("a changed byte costs a gap or the end of the journal, and no entry is changed", async () => {
  const { journal } = await opened();
  for (let n = 1; n <= 6; n += 1) await append(journal, n, n);
  const name = join(directory, "journal.0000000001");
  const whole = readFileSync(name);
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 0, max: whole.length - 1 }),
      fc.integer({ min: 1, max: 255 }),
      async (at, change) => {
        const damaged = Buffer.from(whole);
        damaged[at] = (damaged[at] as number) ^ change;
        writeFileSync(name, damaged);
        const found = await textsOf((await opened()).journal);
        const good = texts(1, 6);
        for (const [index, text] of found.entries()) {
          if (!text.startsWith("gap")) expect(text).toBe(good[index]);
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("many small blocks are found, and read with few calls of the system in any order", async () => {
  const count = 400;
  const first = await opened();
  for (let n = 1; n <= count; n += 1) await append(first.journal, n, n);
  let reads = 0;
  const counting: OpenFile = async (path, flags, mode) => {
    const file = (await open(path, flags, mode)) as File;
    return {
      read: (...args) => {
        reads += 1;
        return file.read(...args);
      },
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
      writev: (pieces, position) => file.writev(pieces, position),
    };
  };
  const second = await opened({ open: counting });
  expect(await textsOf(second.journal)).toEqual(texts(1, count));
  expect(reads).toBeLessThan(20);
  for (let n = 1; n < count; n += 7) {
    const seq = (n * 31) % count;
    const reading = await second.journal.read(seq);
    const entries = reading && "entries" in reading ? [...reading.entries] : [];
    expect(entries[0]?.content?.["text"]).toBe(`line ${seq + 1}`);
  }
  // Headers at the edges of what is read at once, and cut off there.
  const [name = ""] = readdirSync(directory);
  const path = join(directory, name);
  const { size } = statSync(path);
  expect(size).toBeGreaterThan(150 * KB);
  for (const edge of [32, 64, 128]) {
    for (const cut of [-65, -1, 0, 1, 63, 64, 65]) {
      const copy = join(directory, `cut-${edge}-${cut}`);
      cpSync(path, join(copy, name));
      truncateSync(join(copy, name), edge * KB + cut);
      const { journal } = await opened({}, copy);
      const found = await textsOf(journal);
      expect(found.length).toBeGreaterThan(50);
      expect(found).toEqual(texts(1, found.length));
    }
  }
});

test("a closed segment is opened by its footer alone, with the same entries", async () => {
  const small = { disk: 512 * KB }; // a segment has 32 KiB
  const { journal } = await opened(small);
  for (let n = 1; n <= 40; n += 1) {
    journal.append(line(`line ${n}`));
    journal.append(line("y".repeat(4 * KB)));
    journal.mark = { run: 1, event: n };
    await eventually(
      "the entries are written",
      () => journal.last === 2 * n || undefined,
    );
  }
  expect(readdirSync(directory).length).toBeGreaterThan(3);
  const expected = await textsOf(journal);
  await journal.letGo();
  const again = await opened(small);
  expect(await textsOf(again.journal)).toEqual(expected);
  expect(again.journal.mark).toEqual({ run: 1, event: 40 });
  // Without the footers the chunks are found one by one.
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    truncateSync(path, statSync(path).size - 4);
  }
  expect(await textsOf((await opened(small)).journal)).toEqual(expected);
});

test("a footer that was read ahead is not read again, unless the file has changed", async () => {
  const small = { disk: 512 * KB }; // a segment has 32 KiB
  const { journal } = await opened(small);
  await appendBlocks(journal, 20);
  const files = () =>
    readdirSync(directory).map((name) => join(directory, name));
  const at = new Date(1_700_000_000_000);
  for (const path of files()) utimesSync(path, at, at);
  const ahead = new FootersAhead();
  await ahead.read(directory); // the newest file has no footer yet
  expect(files().map((path) => statSync(path).mtimeMs)).toEqual(
    files().map(() => at.getTime()),
  );
  await journal.letGo();
  const expected = await findSegments(directory);
  expect(expected.segments.length).toBeGreaterThan(2);
  expect(await findSegments(directory, ahead)).toEqual(expected);

  await ahead.read(directory);
  const [changed = "", damaged = ""] = files();
  writeFileSync(changed, readFileSync(changed)); // another time
  for (const path of [changed, damaged]) {
    const { size, mtime } = statSync(path);
    const file = await open(path, "r+");
    await file.write("x", size - 1); // both have no valid footer now
    await file.close();
    if (path === damaged) utimesSync(path, mtime, mtime);
  }
  const truncated = statSync(changed).size;
  expect(await findSegments(directory, ahead)).toEqual({
    ...expected,
    removed: truncated - statSync(changed).size,
  });
});

test("entries that the limit on disk removed are a gap after a restart", async () => {
  const small = { disk: 64 * KB };
  const { journal } = await opened(small);
  await appendBlocks(journal, 60);
  const again = await opened(small);
  expect(again.journal.last).toBe(60);
  expect(again.journal.first).toBeGreaterThan(1);
  expect((await textsOf(again.journal))[0]).toBe(
    `gap 1-${again.journal.first - 1}`,
  );
});

test("a full disk is reported, readers go on, and the journal is kept again when it can be", async () => {
  let isFull = false;
  const full: OpenFile = async (path, flags, mode) => {
    const file = (await open(path, flags, mode)) as File;
    return {
      read: (...args) => file.read(...args),
      truncate: (length) => file.truncate(length),
      close: () => file.close(),
      writev(pieces, position) {
        if (!isFull) return file.writev(pieces, position);
        return Promise.reject(
          Object.assign(new Error("no space left"), { code: "ENOSPC" }),
        );
      },
    };
  };
  const { journal, durable, written } = await opened({ open: full });
  await append(journal, 1, 2);
  isFull = true;
  journal.append(line("line 3"));
  journal.mark = { run: 1, event: 3 };
  await eventually(
    "the entries are written",
    () => journal.last === 3 || undefined,
  );
  expect(durable).toEqual([false]);
  expect(written.at(-1)).toEqual({ run: 1, event: 3 });
  expect(await textsOf(journal)).toEqual(texts(1, 3));
  isFull = false;
  vi.useFakeTimers({ toFake: ["performance"] });
  vi.advanceTimersByTime(3_600_000); // a failed write is repeated after ten seconds
  await append(journal, 4, 5);
  await eventually("the disk takes it again", () =>
    durable.at(-1) === true ? true : undefined,
  );
  vi.useRealTimers();
  // The full disk took the oldest entries first.
  const again = await textsOf((await opened()).journal);
  expect(again).toEqual(["gap 1-2", ...texts(3, 5)]);
});

test("files with numbers that are there already, and empty ones, are removed", async () => {
  const { journal } = await opened();
  await append(journal, 1, 2);
  const copy = readFileSync(join(directory, "journal.0000000001"));
  writeFileSync(join(directory, "journal.0000000002"), copy); // the same numbers again
  writeFileSync(join(directory, "journal.0000000003"), "");
  const again = await opened();
  expect(await textsOf(again.journal)).toEqual(texts(1, 2));
  expect(readdirSync(directory)).toEqual(["journal.0000000001"]);
});

test("deleting the journal removes its files, letting go does not", async () => {
  const first = await opened();
  await append(first.journal, 1, 1);
  await first.journal.letGo();
  expect(readdirSync(directory)).toHaveLength(1);
  const second = await opened();
  await second.journal[Symbol.asyncDispose]();
  expect(readdirSync(directory)).toEqual([]);
});
