/**
 * The process table of Windows at one moment. The trees are read from one list
 * of all processes; only the processes of the requested trees are measured.
 */
import type { ProcessStat } from "../process-table.ts";
import type { ListedProcess, WindowsApi } from "./api.ts";

/** 10 ms, in units of 100 ns. */
const TICK = 100_000;
/** The unit of resident memory; any size works. */
const PAGE_BYTES = 4096;

export function windowsProcesses(api: WindowsApi) {
  const listed = new Map<number, ListedProcess>();
  const children = new Map<number, number[]>();
  for (const one of api.processes()) {
    listed.set(one.pid, one);
    const siblings = children.get(one.parent);
    if (siblings === undefined) children.set(one.parent, [one.pid]);
    else siblings.push(one.pid);
  }
  const stats = new Map<number, ProcessStat | undefined>();

  const measured = (pid: number): ProcessStat | undefined => {
    const found = listed.get(pid);
    const stat = found === undefined ? undefined : api.measure(pid);
    if (found === undefined || stat === undefined) return undefined;
    return {
      pid,
      state: "R",
      parent: found.parent,
      group: 0,
      cpuTicks: stat.cpuTime / TICK,
      threads: found.threads,
      startTime: stat.startTime,
      residentPages: stat.memory / PAGE_BYTES,
    };
  };

  /** `undefined` if there is no such process, or if this process may not see it. */
  const statOf = (pid: number): ProcessStat | undefined => {
    if (!stats.has(pid)) stats.set(pid, measured(pid));
    return stats.get(pid);
  };

  /** A parent's pid may have been reused: a process that is younger than the child is not its parent. */
  const isChild = (pid: number, parent: number): boolean => {
    const [child, began] = [statOf(pid), statOf(parent)];
    if (child === undefined || began === undefined) return false;
    return child.startTime >= began.startTime;
  };

  return {
    statOf,
    pageBytes: () => PAGE_BYTES,
    /** All descendants of these processes, each once, parents before children. */
    descendantsOf(roots: Iterable<number>): number[] {
      const known = new Set(roots);
      const found: number[] = [];
      for (const pid of known) {
        for (const child of children.get(pid) ?? []) {
          if (known.has(child) || !isChild(child, pid)) continue;
          known.add(child);
          found.push(child);
        }
      }
      return found;
    },
  };
}
