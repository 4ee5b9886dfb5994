/**
 * Whether Linux has killed a process because there was no memory left.
 *
 * Linux does not tell the parent. It counts such kills for each control group, so
 * the count is noted while the process runs, and compared when it was killed. In
 * version 2 a group counts for the groups below it, too: if the process's own
 * group was removed with it (as systemd does with a scope), the nearest one above
 * tells.
 */
import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";

export interface OomKills {
  /** Notes the present counts. A program that starts the kernel may have moved it into another group meanwhile. */
  note(): void;
  /** Whether the system has killed a process of the group since then. */
  readonly haveRisen: boolean;
}

/** For a process that runs. `proc`: where the system describes processes. */
export function oomKillsOf(pid: number, proc = "/proc"): OomKills {
  /** The counts by file, the process's own group first. */
  let noted: readonly (readonly [file: string, count: number])[] = [];
  const oomKills: OomKills = {
    note() {
      noted = filesOf(pid, proc).flatMap((file) => {
        const count = countIn(file);
        return count === undefined ? [] : [[file, count] as const];
      });
    },
    get haveRisen() {
      for (const [file, before] of noted) {
        const count = countIn(file);
        if (count !== undefined) return count > before;
      }
      return false;
    },
  };
  oomKills.note();
  return oomKills;
}

/** The files that have the count, the nearest first; none on other systems, and for a process that has ended. */
function filesOf(pid: number, proc: string): readonly string[] {
  const groups = groupsIn(textOf(join(proc, String(pid), "cgroup")));
  const mounts = mountsIn(textOf(join(proc, "self/mountinfo")));
  const old = directoryOf(groups.memory, mounts.memory);
  if (old !== undefined) return [join(old, "memory.oom_control")];
  const found = unifiedGroupOf(pid, proc);
  if (found === undefined) return [];
  const { own, top } = found;
  const files: string[] = [];
  for (let at = own; at.startsWith(top); at = dirname(at)) {
    files.push(join(at, "memory.events"));
    if (at === top) break;
  }
  return files;
}

/** The directory of a process's group of version 2, and the highest one that can be seen; `undefined` if there is none. */
export function unifiedGroupOf(
  pid: number | "self",
  proc: string,
): { readonly own: string; readonly top: string } | undefined {
  const groups = groupsIn(textOf(join(proc, String(pid), "cgroup")));
  const { unified } = mountsIn(textOf(join(proc, "self/mountinfo")));
  const found = directoryOf(groups.unified, unified);
  if (found === undefined) return undefined;
  const own = resolve(found); // without a slash at its end
  return { own, top: unified?.at ?? own };
}

/** A process's groups: that of the memory controller in version 1, and the one group of version 2. */
interface Groups {
  readonly memory?: string;
  readonly unified?: string;
}

/** Each line is `number:controllers:path`; version 2 has the number 0 and no controllers. */
function groupsIn(text: string): Groups {
  const groups: { memory?: string; unified?: string } = {};
  for (const line of text.split("\n")) {
    const [, controllers = "", path = ""] =
      /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers.split(",").includes("memory")) groups.memory = path;
    else if (controllers === "" && path !== "") groups.unified = path;
  }
  return groups;
}

interface Mount {
  /** The group that is the mount's top directory. */
  readonly root: string;
  readonly at: string;
}

/** Lines as in proc(5): the fourth field is the root, the fifth the directory; behind a `-`, the type and the options. */
function mountsIn(text: string): { memory?: Mount; unified?: Mount } {
  const mounts: { memory?: Mount; unified?: Mount } = {};
  for (const line of text.split("\n")) {
    const [fields = "", more = ""] = line.split(" - ");
    const [, , , root = "", at = ""] = fields.split(" ").map(unescaped);
    const [type, , options = ""] = more.split(" ");
    if (type === "cgroup2") mounts.unified ??= { root, at };
    if (type === "cgroup" && options.split(",").includes("memory")) {
      mounts.memory ??= { root, at };
    }
  }
  return mounts;
}

/** A container may show its own groups only; the top directory is then all that is known. */
function directoryOf(
  group: string | undefined,
  mount: Mount | undefined,
): string | undefined {
  if (group === undefined || mount === undefined) return undefined;
  const { root, at } = mount;
  const top = root === "/" ? "" : root;
  const isBelow = group === top || group.startsWith(`${top}/`);
  const isOutside = group.split("/").includes("..");
  return isBelow && !isOutside ? join(at, group.slice(top.length)) : at;
}

/** `undefined` if there is no such file, or it has no such count. */
function countIn(file: string): number | undefined {
  const [, count] = /^oom_kill (\d+)$/m.exec(textOf(file)) ?? [];
  return count === undefined ? undefined : Number(count);
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return ""; // the process or the group is gone, or this is not Linux
  }
}

/** Blanks in paths are written as `\040`. */
function unescaped(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(parseInt(octal, 8)),
  );
}
