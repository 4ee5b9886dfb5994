/**
 * A program that uses more memory than each of its children, and starts two: one
 * that uses little, and one that takes all the rest. A server is such a program. It
 * prints how the greedy child ended, and whether the other one still runs.
 */
import { spawnProcess } from "../../src/host/process.ts";

const held = Buffer.alloc(110 * 1024 * 1024, 1);
const MODEST = `
import time
held = bytearray(b"x") * 30_000_000
print("ready", flush=True)
time.sleep(1000)
`;
const GREEDY = `
import time
parts = []
while True:
    parts.append(bytearray(b"x") * 4_000_000)
    time.sleep(0.005)
`;
const [, , python = "python3"] = process.argv;

function start(code: string, onLine: (line: string) => void) {
  return spawnProcess(
    {
      // The shell stays the parent, as around kernels that start in a shell.
      program: "/bin/sh",
      args: ["-c", `"$0" -c "$1"; exit $?`, python, code],
      env: { PATH: process.env["PATH"] ?? "" },
      cwd: "/",
    },
    (_, line) => onLine(line),
  );
}

let isReady = () => {};
const ready = new Promise<void>((resolve) => (isReady = resolve));
const modest = await start(MODEST, isReady);
await ready;
const greedy = await start(GREEDY, () => {});
const exit = await greedy.exited;
console.log(
  JSON.stringify({
    exit,
    isModestRunning: modest.isRunning,
    held: held.length,
  }),
);
await modest.group.kill();
await modest.exited;
