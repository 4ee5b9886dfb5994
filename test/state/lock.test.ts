/** Processes that fight for one state. */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { lockState } from "../../src/state/state.ts";
import { bundled } from "../bundled.ts";
import { temporaryFolder } from "../harness.ts";

interface Outcome {
  readonly won: number;
  readonly shared: number;
  readonly refusals: readonly string[];
}

async function contend(directory: string, ms: number): Promise<Outcome[]> {
  const folder = bundled(
    "kallichore-test-contender",
    { contender: "test/state/contender.ts" },
    {
      external: ["koffi"],
      banner: {
        js: 'import { createRequire as made } from "node:module"; const require = made(import.meta.url);',
      },
    },
  );
  const ended = spawnSync(process.execPath, ["-e", ""]).pid;
  const args = [join(folder, "contender.js"), directory, ms, ended].map(String);
  return Promise.all(
    Array.from({ length: 5 }, async () => {
      const child = spawn(process.execPath, args, {
        stdio: ["ignore", "pipe", "inherit"],
      });
      const printed = text(child.stdout);
      await once(child, "exit");
      return JSON.parse(await printed) as Outcome;
    }),
  );
}

test("of several processes that want a state, one at a time has it, also after one that was killed", async () => {
  const outcomes = await contend(temporaryFolder(), 4_000);
  expect(outcomes.reduce((sum, { won }) => sum + won, 0)).toBeGreaterThan(100);
  expect(outcomes.map(({ shared }) => shared)).toEqual([0, 0, 0, 0, 0]);
});

test("a state that a process uses is refused to all others, with its process id", async () => {
  const directory = temporaryFolder();
  const unlock = lockState(directory);
  const outcomes = await contend(directory, 2_000);
  unlock();
  for (const { won, refusals } of outcomes) {
    expect(won).toBe(0);
    expect(refusals).toEqual([
      expect.stringContaining("is used by the process with the id #"),
    ]);
  }
});
