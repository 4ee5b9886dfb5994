/** A control group with a limit on memory, for tests of what happens without memory. */
import {
  mkdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll } from "vitest";
import { needs } from "./needs.ts";

/** Bytes. */
export const LIMIT = 256 * 1024 * 1024;

/** Makes the group; `undefined` if this machine lets us make none. It is removed after the tests of the file. */
export function limitedGroup(): string | undefined {
  const groups = read("/proc/self/cgroup");
  const [, old] = /^\d+:memory:(.*)$/m.exec(groups) ?? [];
  const [, own = "/"] = /^0::(.*)$/m.exec(groups) ?? [];
  const [base, limit] =
    old === undefined
      ? [join("/sys/fs/cgroup", own), "memory.max"]
      : [join("/sys/fs/cgroup/memory", old), "memory.limit_in_bytes"];
  const group = join(base, `kallichore-test-${process.pid}`);
  try {
    mkdirSync(group);
    writeFileSync(join(group, limit), String(LIMIT));
  } catch {
    rmSync(group, { recursive: true, force: true });
    return undefined;
  }
  afterAll(() => {
    try {
      rmdirSync(group);
    } catch {
      // a process of it has not quite ended
    }
  });
  return group;
}

/** The command that runs another one in the group, as `systemd-run --scope` does. */
export function inGroup(group: string, argv: readonly string[]): string[] {
  const script = `echo $$ > ${group}/cgroup.procs; exec "$@"`;
  return ["/bin/sh", "-c", script, "sh", ...argv];
}

export function needsGroup(group: string | undefined, isComplete = true) {
  return needs(
    group !== undefined && isComplete,
    "the right to make a control group with a limit on memory, and a Python with ipykernel",
  );
}

function read(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}
