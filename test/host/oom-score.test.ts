/** Which process Linux kills if there is no memory left. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { spawnProcess } from "../../src/host/process.ts";
import { bundled } from "../bundled.ts";
import { python } from "../kernels/python.ts";
import { inGroup, limitedGroup, needsGroup } from "../limited-group.ts";
import { needsLinux } from "../needs.ts";

const own = Number(
  needsLinux.skip === true
    ? 0
    : readFileSync("/proc/self/oom_score_adj", "latin1"),
);
const raised = Math.min(own + 500, 1000);
/** The score is set right after the start: the script goes on then, or after two seconds. */
const wait = `n=0; while [ "$(cat /proc/$$/oom_score_adj)" = ${own} ] && [ $n -lt 200 ]; do n=$((n+1)); sleep 0.01; done`;

test.each([
  ["a kernel", "cat /proc/self/oom_score_adj; exec cat /dev/null"],
  [
    "what its shell starts",
    "true; (sh -c 'cat /proc/self/oom_score_adj'); true",
  ],
  [
    "what it starts in the background",
    "sh -c 'cat /proc/self/oom_score_adj' & wait",
  ],
])("%s is preferred to this process", needsLinux, async (_, script) => {
  const lines: string[] = [];
  const { exited } = await spawnProcess(
    {
      program: "/bin/sh",
      args: ["-c", `${wait}; ${script}`],
      env: { PATH: process.env["PATH"] ?? "" },
      cwd: "/",
    },
    (_stream, line) => lines.push(line.trim()),
  );
  await exited;
  expect(lines).toEqual([String(raised)]);
});

const group = limitedGroup();

test(
  "a kernel that takes all memory is killed, and neither its sibling nor the larger process that holds both",
  { timeout: 60_000, ...needsGroup(group, python !== undefined) },
  async () => {
    const folder = bundled(
      "kallichore-test-greedy",
      { greedy: "test/host/greedy.ts" },
      {
        external: ["koffi"],
        banner: {
          js: 'import { createRequire as made } from "node:module"; const require = made(import.meta.url);',
        },
      },
    );
    const argv = [process.execPath, join(folder, "greedy.js"), python ?? ""];
    const [program = "", ...args] = inGroup(group ?? "", argv);
    const holder = spawn(program, args, {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const printed = text(holder.stdout);
    await once(holder, "exit");
    expect(holder.signalCode).toBeNull();
    expect(JSON.parse(await printed)).toMatchObject({
      exit: { exit_code: 137, oom: true },
      isModestRunning: true,
    });
  },
);
