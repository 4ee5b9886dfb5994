/**
 * Control groups of version 2 (Linux) for kernels whose CPU or memory is limited.
 *
 * The kernels' groups lie beside the group of this process, in a group that was
 * delegated to its user. A systemd service gets that from `Delegate=yes` and
 * `DelegateSubgroup=`. A group that has processes of its own can have no limited
 * groups below it, and slices belong to systemd, so neither is used.
 */
import {
  accessSync,
  constants,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { unifiedGroupOf } from "./oom-kills.ts";
import { descendantsOf, isAlive } from "./process-table.ts";

export interface ControlGroup extends Disposable {
  /** Moves the process into the group, if it still runs. Its children are started in it. Throws a system error. */
  add(pid: number): void;
  /** Changes settings of the group. Throws an error that says why it cannot, for people. */
  set(settings: GroupSettings): void;
  /** Kills all processes of the group, and removes it. */
  [Symbol.dispose](): void;
}

/** What the group's files are to contain, by their names: `cpu.max`, `memory.max`. */
export type GroupSettings = Readonly<Record<string, string>>;

/** The settings that give the processes so many cores and bytes together. `null`: no limit. */
export function settingsOf({
  cpus,
  memory_bytes,
}: {
  readonly cpus?: number | null | undefined;
  readonly memory_bytes?: number | null | undefined;
}): GroupSettings {
  return {
    ...(cpus !== undefined && { "cpu.max": `${quotaOf(cpus)} ${PERIOD}` }),
    ...(memory_bytes !== undefined && {
      "memory.max": String(memory_bytes ?? NO_LIMIT),
      "memory.oom.group": "1", // a kernel without its workers is of no use
    }),
  };
}

function quotaOf(cpus: number | null): number | string {
  if (cpus === null) return NO_LIMIT;
  return Math.max(LEAST_QUOTA, Math.round(cpus * PERIOD));
}

const NO_LIMIT = "max";
/** Microseconds. */
const PERIOD = 100_000;
const LEAST_QUOTA = 1_000;

/** Makes a group. Throws an error that says why there can be none, for people. `proc`: where the system describes processes. */
export function controlGroup(
  settings: GroupSettings,
  proc = "/proc",
): ControlGroup {
  const parent = parentFor(settings, proc);
  removeLeftovers(parent);
  const path = join(parent, `${PREFIX}${process.pid}-${(count += 1)}`);
  mkdirSync(path);
  try {
    for (const [file, value] of Object.entries(settings)) {
      writeFileSync(join(path, file), value);
    }
  } catch (error) {
    rmdirSync(path);
    throw error;
  }
  return {
    add(pid) {
      try {
        writeFileSync(join(path, "cgroup.procs"), String(pid));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    },
    set(changed) {
      parentFor(changed, proc); // their controllers may not be enabled yet
      for (const [file, value] of Object.entries(changed)) {
        writeFileSync(join(path, file), value);
      }
    },
    [Symbol.dispose]() {
      attempt(() => writeFileSync(join(path, "cgroup.kill"), "1"));
      removeSoon(path, REMOVE_TRIES);
    },
  };
}

/** Limits the cores of a process that runs, and of those that it has started. Without a group they get one, which is returned. Throws as `controlGroup` does. */
export function groupWithCores(
  cpus: number | null,
  pid: number,
  group: ControlGroup | undefined,
  proc?: string,
): ControlGroup | undefined {
  const settings = settingsOf({ cpus });
  if (group !== undefined) {
    group.set(settings);
    return group;
  }
  if (cpus === null) return undefined;
  const made = controlGroup(settings, proc);
  try {
    made.add(pid);
  } catch (error) {
    made[Symbol.dispose](); // nothing is in it
    throw error;
  }
  const known = new Set([pid]);
  for (let isNew = true; isNew;) {
    isNew = false;
    // A process that was started outside of the group meanwhile is found in the next round.
    for (const child of descendantsOf([pid])) {
      if (known.has(child)) continue;
      known.add(child);
      isNew = true;
      try {
        made.add(child);
      } catch {
        // It belongs to another user, and stays where it is.
      }
    }
  }
  return made;
}

let count = 0;
const PREFIX = "kallichore-";
/** The processes that were killed need a moment to end. */
const REMOVE_TRIES = 20;
const REMOVE_MS = 50;

/** Why no group can have these settings; `undefined` if it can. */
export function whyNoControlGroup(
  settings: GroupSettings,
  proc?: string,
): string | undefined {
  try {
    parentFor(settings, proc);
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}

/** The directory in which groups with these settings can be made. Throws an error for people. */
function parentFor(settings: GroupSettings, proc = "/proc"): string {
  if (process.platform !== "linux") {
    throw new Error("this needs Linux");
  }
  const found = unifiedGroupOf("self", proc);
  if (found === undefined) {
    throw new Error("this system has no control groups of version 2");
  }
  const { own, top } = found;
  const parent = dirname(own);
  if (own === top || parent.endsWith(".slice")) {
    throw new Error(
      `no control group was delegated to this process (it is in ${own})`,
    );
  }
  const control = join(parent, "cgroup.subtree_control");
  const controllers = new Set(
    Object.keys(settings).map((file) => file.split(".")[0] ?? ""),
  );
  const missing = (file: string) => {
    const there = wordsIn(join(parent, file));
    return [...controllers].filter((name) => !there.has(name));
  };
  const [unknown] = missing("cgroup.controllers");
  if (unknown !== undefined) {
    throw new Error(`${parent} has no controller for ${unknown}`);
  }
  try {
    for (const path of [parent, join(parent, "cgroup.procs")]) {
      accessSync(path, constants.W_OK);
    }
    const disabled = missing("cgroup.subtree_control");
    if (disabled.length > 0) {
      const text = disabled.map((name) => `+${name}`).join(" ");
      writeFileSync(control, text);
    }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new Error(`${parent} cannot be used (${code})`, { cause: error });
  }
  return parent;
}

/** Groups of processes that were killed. A group that still has processes stays. */
function removeLeftovers(parent: string): void {
  for (const name of readdirSync(parent)) {
    const [, pid] = /^kallichore-(\d+)-\d+$/.exec(name) ?? [];
    if (pid === undefined || isAlive(Number(pid))) continue;
    attempt(() => rmdirSync(join(parent, name)));
  }
}

function removeSoon(path: string, tries: number): void {
  const isRemoved = attempt(() => rmdirSync(path));
  if (isRemoved || tries === 0) return; // what is left is removed when the next group is made by another process
  setTimeout(() => removeSoon(path, tries - 1), REMOVE_MS).unref();
}

function wordsIn(file: string): ReadonlySet<string> {
  return new Set(readFileSync(file, "utf8").trim().split(" "));
}

function attempt(act: () => void): boolean {
  try {
    act();
    return true;
  } catch {
    return false;
  }
}
