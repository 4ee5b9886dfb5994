/** Runs tests in the process of runner.ts, which it starts, and starts again when a run was ended. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import type { Answer, Request } from "./runner.ts";

let runner: ChildProcess | undefined;
process.once("exit", endRunner);
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => process.exit(130));
}

/** `timeout`: the run took longer than `timeout_ms` and was ended. `ended`: the process of the tests ended. */
export async function runTests(
  request: Request,
  timeout_ms: number,
): Promise<Answer | "timeout" | "ended"> {
  runner ??= fork("scripts/mutate/runner.ts", {
    execArgv: ["--import", "tsx"],
    stdio: ["ignore", "ignore", "ignore", "ipc"],
    detached: true, // its own process group, so that the processes of its tests end with it
  });
  const over = new AbortController();
  const answered = once(runner, "message", over) as Promise<[Answer]>;
  const ended = once(runner, "exit", over).then(() => "ended" as const);
  const late = delay(timeout_ms, "timeout" as const, over);
  const all = [answered, ended, late];
  for (const each of all) each.catch(() => {}); // the waits that did not win are aborted
  runner.send(request);
  const first = await Promise.race(all);
  over.abort();
  if (Array.isArray(first)) return first[0];
  endRunner();
  return first;
}

/** Kills the runner with its process group. */
export function endRunner(): void {
  const pid = runner?.pid;
  runner = undefined;
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // The processes have ended.
  }
}
