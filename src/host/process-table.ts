/**
 * What the operating system says about processes that we know.
 *
 * On Linux, narrow reads of `/proc/<pid>`, synchronous because each takes a few
 * microseconds and asynchronous ones cost nine times as much; never a scan of
 * all processes. A pid alone may have been given to a stranger: with its start
 * time it names one process for as long as the machine runs.
 */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStat {
  readonly pid: number;
  /** The letter of `ps`: R running, S sleeping, Z a zombie, … */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  /** User and system time of all its threads, in ticks of 10 ms. */
  readonly cpuTicks: number;
  readonly threads: number;
  /** In ticks since the machine started; with the pid, its identity. */
  readonly startTime: number;
  /** Resident set, in pages. */
  readonly residentPages: number;
}

export interface ProcessIdentity {
  readonly pid: number;
  /** From `startTimeOf`, as soon as the process exists; where `undefined`, the pid is trusted. */
  readonly startTime?: number | undefined;
}

/** `undefined` when there is no such process, and on platforms without `/proc/<pid>/stat`. */
export function statOf(pid: number): ProcessStat | undefined {
  const line = readProc(`${pid}/stat`);
  if (line === undefined) return undefined;
  // The name in parentheses may hold anything, parentheses and blanks too.
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  const field = (number: number) => Number(fields[number - 3]); // Numbered from 1 in proc(5).
  return {
    pid,
    state: fields[0] ?? "",
    parent: field(4),
    group: field(5),
    cpuTicks: field(14) + field(15),
    threads: field(20),
    startTime: field(22),
    residentPages: field(24),
  };
}

/** Known on Linux only. Take it while the process is certainly there: right after the spawn. */
export function startTimeOf(pid: number): number | undefined {
  return statOf(pid)?.startTime;
}

/** Whether this very process still runs; a zombie does not. */
export function isAlive(pid: number, startTime?: number): boolean {
  const stat = statOf(pid);
  if (stat !== undefined) {
    const isSame = startTime === undefined || stat.startTime === startTime;
    return isSame && stat.state !== "Z" && stat.state !== "X";
  }
  if (process.platform === "linux") return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/**
 * The children of a process, whichever of its threads started them. Only those
 * of its main thread with `mainThreadOnly`, which is one read instead of one per
 * thread. Empty where the system does not tell.
 */
export function childrenOf(
  pid: number,
  { mainThreadOnly = false } = {},
): number[] {
  const threads = mainThreadOnly ? [String(pid)] : threadsOf(pid);
  return threads.flatMap((thread) => {
    const line = readProc(`${pid}/task/${thread}/children`)?.trim();
    return line === undefined || line === "" ? [] : line.split(" ").map(Number);
  });
}

/** All processes below these, each once, parents before their children; zombies too. */
export function descendantsOf(
  roots: Iterable<number>,
  options: { readonly mainThreadOnly?: boolean } = {},
): number[] {
  const known = new Set(roots);
  const found: number[] = [];
  // A set is walked in the order of insertion, and the walk meets what is added on the way.
  for (const pid of known) {
    for (const child of childrenOf(pid, options)) {
      if (known.has(child)) continue;
      known.add(child);
      found.push(child);
    }
  }
  return found;
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // It has ended.
  }
}

function readProc(path: string): string | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return readFileSync(`/proc/${path}`, "latin1");
  } catch {
    return undefined; // It has ended, or it is hidden from us: nothing is known.
  }
}
