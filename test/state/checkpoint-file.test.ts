/** The files of checkpoints: whole or not at all, and never those of other entries. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished, expect, test } from "vitest";
import { silentLog } from "../../src/log/log.ts";
import type { SavedCheckpoint } from "../../src/session/store.ts";
import { CheckpointFiles } from "../../src/state/checkpoint-file.ts";
import { recordingLog } from "../recording-log.ts";

const JOURNAL = "0123456789abcdef";

function place(): string {
  const directory = mkdtempSync(join(tmpdir(), "kallichore-checkpoint-"));
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

const filesIn = (directory: string, last = 1e9, journal_id = JOURNAL) =>
  CheckpointFiles.of({ directory, journal_id, log: silentLog() }, last);

async function all(files: CheckpointFiles): Promise<SavedCheckpoint[]> {
  const found: SavedCheckpoint[] = [];
  for await (const each of files.found()) found.push(each);
  return found;
}

const seqsIn = async (directory: string, last?: number, id?: string) =>
  (await all(filesIn(directory, last, id))).map(({ seq }) => seq);

const checkpoint = (seq: number): SavedCheckpoint => ({
  seq,
  json: { text: `up to ${seq} é` },
  blobs: [Buffer.from("first"), Buffer.alloc(0), Buffer.from([0, 255, seq])],
});

test("the two newest stay, and are found with all their bytes, newest first", async () => {
  const directory = place();
  const files = filesIn(directory);
  for (const seq of [3, 17, 99_999_999]) {
    expect(await files.write(checkpoint(seq))).toBeGreaterThan(64);
  }
  const names = readdirSync(directory);
  expect(names).toEqual([
    "checkpoint.0000000000000017",
    "checkpoint.0000000099999999",
  ]);
  for (const name of names) {
    expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
  }
  expect(await all(filesIn(directory))).toEqual([
    checkpoint(99_999_999),
    checkpoint(17),
  ]);
});

test("a long one is whole", async () => {
  const directory = place();
  const bytes = Buffer.alloc(9_000_000, "x");
  await filesIn(directory).write({ ...checkpoint(1), blobs: [bytes] });
  const [found] = await all(filesIn(directory));
  expect(bytes.equals(found?.blobs[0] ?? Buffer.of())).toBe(true);
});

test("one with any flipped bit, or cut off anywhere, gives way to the one before", async () => {
  const directory = place();
  const files = filesIn(directory);
  await files.write(checkpoint(1));
  await files.write(checkpoint(2));
  const path = join(directory, "checkpoint.0000000000000002");
  const whole = readFileSync(path);
  for (let at = 0; at < whole.length; at += 1) {
    for (let bit = 0; bit < 8; bit += 1) {
      const flipped = Buffer.from(whole);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
      writeFileSync(path, flipped);
      expect([at, bit, await seqsIn(directory)]).toEqual([at, bit, [1]]);
    }
  }
  for (let length = 0; length < whole.length; length += 1) {
    writeFileSync(path, whole.subarray(0, length));
    expect([length, await seqsIn(directory)]).toEqual([length, [1]]);
  }
  writeFileSync(path, Buffer.concat([whole, Buffer.alloc(1)]));
  expect(await seqsIn(directory)).toEqual([1]);
  writeFileSync(path, whole);
  expect(await seqsIn(directory)).toEqual([2, 1]);
});

test("the log names one that is damaged, and it is not written over the next time", async () => {
  const directory = place();
  const path = join(directory, "checkpoint.0000000000000002");
  await filesIn(directory).write(checkpoint(1));
  writeFileSync(path, "no checkpoint");
  const { log, lines } = recordingLog();
  const options = { directory, journal_id: JOURNAL, log };
  const files = CheckpointFiles.of(options, 10);
  expect((await all(files)).map(({ seq }) => seq)).toEqual([1]);
  expect(JSON.stringify(lines)).toContain(path);
  await files.write(checkpoint(5));
  expect(await seqsIn(directory)).toEqual([5, 1]);
});

test("one whose numbers will be given again is removed before that", async () => {
  const directory = place();
  const files = filesIn(directory);
  await files.write(checkpoint(5));
  await files.write(checkpoint(9));
  writeFileSync(join(directory, "checkpoint.new"), "of a killed process");
  filesIn(directory, 8);
  expect(readdirSync(directory)).toEqual(["checkpoint.0000000000000005"]);
});

test("one of another journal is not taken over, and is removed with the next", async () => {
  const directory = place();
  await filesIn(directory).write(checkpoint(5));
  const other = "fedcba9876543210";
  expect(await seqsIn(directory, 1e9, other)).toEqual([]);
  const options = { directory, journal_id: other, log: silentLog() };
  await new CheckpointFiles(options).write(checkpoint(1));
  expect(await seqsIn(directory, 1e9, other)).toEqual([1]);
  expect(readdirSync(directory)).toHaveLength(1);
});

test("a failed write is logged once, leaves nothing, and the ones before stay", async () => {
  const directory = place();
  const { log, lines } = recordingLog();
  const options = { directory, journal_id: JOURNAL, log };
  const files = new CheckpointFiles(options);
  await files.write(checkpoint(1));
  mkdirSync(join(directory, "checkpoint.0000000000000002"));
  writeFileSync(join(directory, "checkpoint.0000000000000002", "x"), "");
  expect(await files.write(checkpoint(2))).toBeUndefined();
  expect(await files.write(checkpoint(2))).toBeUndefined();
  expect(lines).toHaveLength(1);
  expect(readdirSync(directory)).not.toContain("checkpoint.new");
  expect((await all(files)).map(({ seq }) => seq)).toEqual([1]);
});
