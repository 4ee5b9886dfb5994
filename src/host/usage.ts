/**
 * The resource usage of kernels: CPU, memory and threads of each process tree.
 *
 * One sampler serves all sessions. It keeps the last readings of the processes
 * in the last request, and of no others. It has no timer: the caller of
 * `sample` decides how often it runs.
 */
import { readFileSync } from "node:fs";
import { linuxProcesses } from "./linux-processes.ts";
import type { ProcessIdentity, ProcessStat } from "./process-table.ts";
import { windowsApi } from "./windows/api.ts";
import { windowsProcesses } from "./windows/processes.ts";

export interface Usage {
  /** Since the previous sample; 100 is one core; 0 in the first sample. */
  readonly cpu_percent: number;
  /** The sum of the resident sets; shared pages count once for each process. */
  readonly memory_bytes: number;
  readonly thread_count: number;
}

export interface UsageSampler {
  /**
   * The usage by the root's pid. A root that has ended, or whose pid was reused,
   * is left out. A root that is no longer requested is forgotten.
   */
  sample(roots: readonly ProcessIdentity[]): Promise<Map<number, Usage>>;
  /** The processes of the root's tree in the last sample; on some systems only the root. */
  processesOf(root: number): readonly number[];
  /** Forgets all readings. */
  forget(): void;
}

export function usageSampler(): UsageSampler {
  const trees = new Map<number, Tree>();
  const linux = linuxProcesses();
  return {
    async sample(roots) {
      if (process.platform === "linux") {
        linux.beginSample();
        return usagesOf(roots, linux, trees);
      }
      const table =
        process.platform === "win32" ? await windowsTable() : undefined;
      return table === undefined
        ? await sampleWithPidusage(roots)
        : usagesOf(roots, table, trees);
    },
    processesOf: (root) => [...(trees.get(root)?.processes.keys() ?? [root])],
    forget() {
      trees.clear();
      linux.forget();
    },
  };
}

/** Replaces the `trees` of the last sample with those of this one. */
function usagesOf(
  roots: readonly ProcessIdentity[],
  table: ProcessTable,
  trees: Map<number, Tree>,
): Map<number, Usage> {
  const usages = new Map<number, Usage>();
  const now = performance.now();
  for (const { pid, startTime } of roots) {
    const root = runningStat(table, pid);
    const isGone =
      root === undefined ||
      (startTime !== undefined && startTime !== root.startTime);
    if (isGone) continue;

    const last = trees.get(pid);
    const isSame = last?.processes.get(pid)?.startTime === root.startTime;
    const tree = treeOf(table, root, isSame ? last : undefined, now);
    trees.set(pid, tree.next);
    usages.set(pid, tree.usage);
  }
  for (const pid of trees.keys()) {
    if (!usages.has(pid)) trees.delete(pid);
  }
  return usages;
}

/** A source of facts about processes. */
interface ProcessTable {
  statOf(pid: number): ProcessStat | undefined;
  descendantsOf(
    roots: Iterable<number>,
    options: { readonly areNew: boolean },
  ): number[];
  /** Default: the system's page size. */
  pageBytes?(): number;
}

/** The current process table; `undefined` if the Windows API cannot be called. */
async function windowsTable(): Promise<ProcessTable | undefined> {
  const api = await windowsApi().catch(() => undefined); // a warning was logged when the first kernel started
  return api === undefined ? undefined : windowsProcesses(api);
}

/** A process tree at its last sample. */
interface Tree {
  readonly time: number; // ms
  readonly processes: ReadonlyMap<number, ProcessStat>;
}

function treeOf(
  table: ProcessTable,
  root: ProcessStat,
  last: Tree | undefined,
  now: number,
): { readonly next: Tree; readonly usage: Usage } {
  // A process of the tree stays in it, even if its parent has ended.
  const processes = new Map([[root.pid, root]]);
  for (const before of last?.processes.values() ?? []) {
    if (before.pid === root.pid) continue;
    const stat = runningStat(table, before.pid);
    if (stat?.startTime === before.startTime) processes.set(stat.pid, stat);
  }
  const areNew = last === undefined;
  const below = table.descendantsOf(processes.keys(), { areNew });
  for (const pid of below) {
    const stat = runningStat(table, pid);
    if (stat !== undefined) processes.set(pid, stat);
  }

  const elapsed = now - (last?.time ?? now);
  let ticks = 0;
  let pages = 0;
  let thread_count = 0;
  for (const stat of processes.values()) {
    if (last !== undefined) ticks += ticksSince(last, stat, elapsed);
    pages += stat.residentPages;
    thread_count += stat.threads;
  }
  const cpu_percent =
    elapsed > 0
      ? Math.max(0, Math.round((ticks * TICK_MS * 100) / elapsed))
      : 0;
  return {
    next: { time: now, processes },
    usage: {
      cpu_percent,
      memory_bytes: pages * (table.pageBytes?.() ?? pageSize()),
      thread_count,
    },
  };
}

function runningStat(
  table: ProcessTable,
  pid: number,
): ProcessStat | undefined {
  const stat = table.statOf(pid);
  return stat?.state === "Z" ? undefined : stat;
}

/** The ticks since the last sample. A process that is new in the tree may have started before that sample, so its ticks are bounded. */
function ticksSince(last: Tree, stat: ProcessStat, elapsed: number): number {
  const before = last.processes.get(stat.pid);
  return before?.startTime === stat.startTime
    ? stat.cpuTicks - before.cpuTicks
    : Math.min(stat.cpuTicks, (stat.threads * elapsed) / TICK_MS);
}

/** Linux reports times in hundredths of a second on every machine that Node supports. */
const TICK_MS = 10;

let knownPageSize: number | undefined;

/** From the auxiliary vector that Linux gives to each program (AT_PAGESZ). */
function pageSize(): number {
  if (knownPageSize !== undefined) return knownPageSize;
  const vector = readFileSync("/proc/self/auxv");
  knownPageSize = 4096;
  for (let at = 0; at + 16 <= vector.length; at += 16) {
    if (vector.readUInt32LE(at) !== 6) continue;
    knownPageSize = vector.readUInt32LE(at + 8);
    break;
  }
  return knownPageSize;
}

/** For other systems: reports the roots without descendants; the number of threads is not known. */
async function sampleWithPidusage(
  roots: readonly ProcessIdentity[],
): Promise<Map<number, Usage>> {
  const usages = new Map<number, Usage>();
  if (roots.length === 0) return usages;
  const { default: pidusage } = await import("pidusage"); // needed on few systems
  const answers = await pidusage(roots.map(({ pid }) => pid)).catch(
    () => ({}), // it fails if all of them have ended
  );
  for (const answer of Object.values(answers)) {
    usages.set(answer.pid, {
      cpu_percent: Math.round(answer.cpu),
      memory_bytes: answer.memory,
      thread_count: 1,
    });
  }
  return usages;
}
