/** Limits of sessions by the command, with real kernels. */
import { expect, test } from "vitest";
import type { ActiveSession } from "../../contract/index.ts";
import { Room, useCommand } from "./kallichore.ts";

useCommand();

test("a session gets the limits of its start, as far as the server allows them", async () => {
  await using room = new Room();
  await room.serve("--session-run-time", "1h");
  const start = (...args: string[]) =>
    room.run(["start", "echo", "--json", ...args]);
  const limits = async (...args: string[]) => {
    const { stdout } = await start(...args);
    return (JSON.parse(stdout) as ActiveSession).limits;
  };
  expect(await limits("--memory", "2G", "--run-time", "30m")).toEqual({
    memory_bytes: 2 * 1024 ** 3,
    cpus: null,
    run_time_s: 1_800,
  });
  expect(await limits()).toMatchObject({ run_time_s: 3_600 });
  const refused = await start("--run-time", "2h");
  expect(refused.code).toBe(3);
  expect(refused.stdout).toContain("this server allows at most 3600");
});

test("exec limits its own kernel", async () => {
  await using room = new Room();
  const ran = await room.run([
    ...["exec", "-k", "echo", "--run-time", "1"],
    "sleep 600000",
  ]);
  expect(ran.stderr).toContain("exited (exit code 0 (time limit))");
  expect(ran.code).toBe(2);
});

test.each([
  ["--memory", "much", "Use a number of bytes"],
  ["--cpus", "0", "Use a number of cores"],
  ["--run-time", "soon", "Use a number with s, m, h or d"],
  ["--run-time", "366d", "at most 365d"],
])("%s %s is refused as a usage error", async (option, value, why) => {
  await using room = new Room();
  const { code, stderr } = await room.run(["start", option, value]);
  expect(code).toBe(64);
  expect(stderr).toContain(why);
});

test("an existing session has its limits already", async () => {
  await using room = new Room();
  const { code, stderr } = await room.run([
    "exec",
    "-s",
    "x",
    "--cpus",
    "1",
    "1",
  ]);
  expect(code).toBe(64);
  expect(stderr).toContain("cannot be used with");
});
