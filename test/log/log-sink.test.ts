import { execFileSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { LogSink } from "../../src/log/log-sink.ts";
import { needsFile, needsPosix } from "../needs.ts";

let room: string;

beforeEach(() => (room = mkdtempSync(join(tmpdir(), "kct-"))));
afterEach(() => rmSync(room, { recursive: true, force: true }));

test("a file is emptied, private, and has every line in order", async () => {
  const path = join(room, "log");
  writeFileSync(path, "old");
  chmodSync(path, 0o644);
  using sink = LogSink.file(path);
  const lines = Array.from({ length: 5_000 }, (_, i) => `line ${i}\n`);
  for (const line of lines) sink.write(line);
  await sink.flushed(10_000);
  expect(readFileSync(path, "utf8")).toBe(lines.join(""));
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test("a file that another program empties is written from its beginning", async () => {
  const path = join(room, "log");
  using sink = LogSink.file(path);
  sink.write("before\n");
  await sink.flushed(10_000);
  writeFileSync(path, "");
  sink.write("after\n");
  await sink.flushed(10_000);
  expect(readFileSync(path, "utf8")).toBe("after\n");
});

test("lines in the queue are written at once at the end", () => {
  const path = join(room, "log");
  const sink = LogSink.file(path);
  sink.write("first\n");
  sink.write("last\n");
  sink[Symbol.dispose]();
  sink.write("too late\n");
  expect(readFileSync(path, "utf8")).toContain("last\n");
  expect(sink.dropped).toBe(1);
});

test(
  "lines that a full disk refuses are counted",
  needsFile("/dev/full"),
  async () => {
    using sink = LogSink.file("/dev/full");
    for (let i = 0; i < 10; i++) sink.write("x\n");
    await sink.flushed(10_000);
    expect(sink.dropped).toBe(10);
  },
);

test(
  "a reader that does not read costs lines, no time; it then gets their number",
  needsPosix,
  async () => {
    const path = join(room, "fifo");
    execFileSync("mkfifo", [path]);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    using sink = LogSink.file(path, { retry_ms: 1 });
    const line = `${"x".repeat(999)}\n`;
    for (let i = 0; i < 20_000; i++) sink.write(line);
    expect(sink.dropped).toBeGreaterThan(0);

    const flushed = sink.flushed(20_000);
    let text = "";
    const over = new AbortController();
    void flushed.then(() => over.abort());
    const bytes = Buffer.alloc(1024 * 1024);
    while (!over.signal.aborted) {
      text += readAll(reader, bytes);
      await new Promise(setImmediate);
    }
    text += readAll(reader, bytes);
    closeSync(reader);
    expect(text).toContain(`[${sink.dropped} lines were dropped]`);
    expect(text.split("\n").filter((one) => one === line.trim()).length).toBe(
      20_000 - sink.dropped,
    );
  },
);

test(
  "a FIFO without a reader is an error, and does not block",
  needsPosix,
  () => {
    const path = join(room, "fifo");
    execFileSync("mkfifo", [path]);
    expect(() => LogSink.file(path)).toThrow("ENXIO");
  },
);

function readAll(fd: number, bytes: Buffer): string {
  try {
    return bytes.toString("latin1", 0, readSync(fd, bytes));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return "";
    throw error;
  }
}
