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
  return line === undefined ? undefined : statIn(line, pid);
}

/** What `/proc/<pid>/stat` says: byte by byte, because it is read for each process of each sample. */
export function statIn(line: Uint8Array, pid: number): ProcessStat {
  // The name in parentheses may hold anything, parentheses and blanks too.
  let at = line.lastIndexOf(CLOSING) + 2;
  const state = String.fromCharCode(line[at] ?? 0);
  const fields: number[] = [0, 0, 0, 0]; // numbered from 1 in proc(5)
  at += 2;
  for (let value = 0; fields.length <= RESIDENT && at <= line.length; at += 1) {
    const byte = line[at] ?? BLANK;
    if (byte === BLANK) {
      fields.push(value);
      value = 0;
    } else {
      value = value * 10 + byte - ZERO; // what is negative is none of ours
    }
  }
  const field = (number: number) => fields[number] ?? NaN;
  return {
    pid,
    state,
    parent: field(4),
    group: field(5),
    cpuTicks: field(14) + field(15),
    threads: field(20),
    startTime: field(22),
    residentPages: field(RESIDENT),
  };
}

const [CLOSING, BLANK, ZERO] = [0x29, 0x20, 0x30];
const RESIDENT = 24;

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

/** The children of a process, whichever of its threads started them. Empty where the system does not tell. */
export function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) => {
    const file = readProc(`${pid}/task/${thread}/children`);
    const line = file?.toString("latin1").trim();
    return line === undefined || line === "" ? [] : line.split(" ").map(Number);
  });
}

/** All processes below these, each once, parents before their children; zombies too. */
export function descendantsOf(roots: Iterable<number>): number[] {
  const known = new Set(roots);
  const found: number[] = [];
  // A set is walked in the order of insertion, and the walk meets what is added on the way.
  for (const pid of known) {
    for (const child of childrenOf(pid)) {
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

function readProc(path: string): Buffer | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return readFileSync(`/proc/${path}`);
  } catch {
    return undefined; // It has ended, or it is hidden from us: nothing is known.
  }
}
