/** What counts as the memory of a kernel. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, onTestFinished, test } from "vitest";
import { inWords, memoryWatch } from "../../src/host/memory-watch.ts";
import { startTimeOf } from "../../src/host/process-table.ts";
import { python } from "../kernels/python.ts";
import { needsLinuxAndPython } from "../needs.ts";

const MIB = 1024 ** 2;

/** Starts it in a group of its own, and waits until it has printed a line. */
async function running(program: string): Promise<number> {
  const child = spawn(python ?? "python3", ["-c", program], {
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  onTestFinished(() => {
    process.kill(-(child.pid ?? 0), "SIGKILL");
  });
  await once(child.stdout, "data");
  return child.pid ?? 0;
}

/** Resolves with the reason when the watch acts. */
function over(pid: number, limit: number): Promise<string> {
  const root = { pid, startTime: startTimeOf(pid) };
  return new Promise((resolve) => {
    const watch = memoryWatch(root, limit, (why) => {
      resolve(why);
      return Promise.resolve();
    });
    onTestFinished(() => watch[Symbol.dispose]());
  });
}

const FORKS = `
import os, time
held = bytearray(b"x") * ${200 * MIB}
for _ in range(4):
    if os.fork() == 0: time.sleep(1000)
print("ready", flush=True)
time.sleep(1000)
`;

test(
  "memory that a process shares with its forks counts once",
  needsLinuxAndPython,
  async () => {
    const pid = await running(FORKS);
    const [above, below] = [over(pid, 400 * MIB), over(pid, 150 * MIB)];
    let isAbove = false;
    void above.then(() => (isAbove = true));
    // Both look at the same times, twice.
    expect(await below).toMatch(
      /^out of memory: it used 2\d\d(\.\d)? MiB, and its limit is 150 MiB$/,
    );
    expect(isAbove).toBe(false);
  },
);

const FILE = `
import mmap, tempfile, time
file = tempfile.TemporaryFile(dir="/var/tmp")
file.truncate(${300 * MIB})
view = mmap.mmap(file.fileno(), ${300 * MIB}, access=mmap.ACCESS_READ)
sum(view[at] for at in range(0, len(view), 4096))
held = bytearray(b"x") * ${100 * MIB}
print("ready", flush=True)
time.sleep(1000)
`;

test(
  "pages of files that it has read do not count",
  needsLinuxAndPython,
  async () => {
    const pid = await running(FILE);
    const [above, below] = [over(pid, 200 * MIB), over(pid, 90 * MIB)];
    let isAbove = false;
    void above.then(() => (isAbove = true));
    expect(await below).toMatch(/it used 1\d\d(\.\d)? MiB/);
    expect(isAbove).toBe(false);
  },
);

test("processes that it has started count", needsLinuxAndPython, async () => {
  const pid = await running(`
import subprocess, sys, time
code = 'import time; held = bytearray(b"x") * ${120 * MIB}; print("ready", flush=True); time.sleep(1000)'
for _ in range(2): subprocess.Popen([sys.executable, "-c", code])
time.sleep(1000)
`);
  expect(await over(pid, 200 * MIB)).toMatch(/it used 2\d\d(\.\d)? MiB/);
});

test("sizes are said as people say them", () => {
  expect([MIB, 300.04 * MIB, 1.5 * 1024 * MIB].map(inWords)).toEqual([
    "1 MiB",
    "300 MiB",
    "1.5 GiB",
  ]);
});
