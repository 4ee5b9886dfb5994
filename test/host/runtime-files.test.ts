import {
  mkdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { RuntimeFiles } from "../../src/host/runtime-files.ts";
import { temporaryFolder } from "../harness.ts";

const DAY_MS = 86_400_000;

test("files that do not change stay younger than a day, so that no system removes them as old", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  using files = new RuntimeFiles(temporaryFolder());
  const connection = await files.write("s", {});
  const below = join(files.ensure(), "folder", "file");
  mkdirSync(join(below, ".."));
  writeFileSync(below, "");
  const all = [files.directory, connection, join(below, ".."), below];
  const old = new Date(Date.now() - 9 * DAY_MS);
  for (const path of all) utimesSync(path, old, old);
  vi.advanceTimersByTime(DAY_MS);
  for (const path of all) {
    const { mtimeMs, atimeMs } = statSync(path);
    expect(Math.min(mtimeMs, atimeMs), path).toBeGreaterThan(
      Date.now() - DAY_MS,
    );
  }
});

test("a directory that another program has removed is made again", async () => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
  onTestFinished(() => void vi.useRealTimers());
  using files = new RuntimeFiles(temporaryFolder());
  rmSync(files.ensure(), { recursive: true });
  vi.advanceTimersByTime(DAY_MS);
  expect(statSync(await files.write("s", {})).size).toBeGreaterThan(0);
});
