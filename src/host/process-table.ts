/**
 * What the operating system reports about known processes.
 *
 * On Linux it reads single files of `/proc/<pid>`; only `allPids` scans all
 * processes. The reads are synchronous: each takes a few microseconds, and an
 * asynchronous read costs nine times as much. A pid alone may have been reused
 * for a foreign process. With the start time it identifies one process until
 * the machine restarts.
 */
import { readdirSync, readFileSync } from "node:fs";

export interface ProcessStat {
  readonly pid: number;
  /** The state letter of `ps`: R running, S sleeping, Z zombie, … */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  /** User and system time of all its threads, in ticks of 10 ms. */
  readonly cpuTicks: number;
  readonly threads: number;
  /** In ticks since the machine started; identifies the process together with the pid. */
  readonly startTime: number;
  /** Resident set, in pages. */
  readonly residentPages: number;
}

export interface ProcessIdentity {
  readonly pid: number;
  /** From `startTimeOf`, called as soon as the process exists. If `undefined`, the pid alone identifies the process. */
  readonly startTime?: number | undefined;
}

/** `undefined` if there is no such process, and on platforms without `/proc/<pid>/stat`. */
export function statOf(pid: number): ProcessStat | undefined {
  const line = readProc(`${pid}/stat`);
  return line === undefined ? undefined : statIn(line, pid);
}

/** Parses `/proc/<pid>/stat` byte by byte, for speed: each sample reads it for each process. */
export function statIn(line: Uint8Array, pid: number): ProcessStat {
  // The name in parentheses may contain any character, also parentheses and blanks.
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
      value = value * 10 + byte - ZERO; // the fields that we use are never negative
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

/** Known on Linux only. Call it while the process certainly exists: right after the spawn. */
export function startTimeOf(pid: number): number | undefined {
  return statOf(pid)?.startTime;
}

/** Whether the process with this start time still runs. A zombie does not. */
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

/** The children of a process, from all of its threads. Empty if the system does not report them. */
export function childrenOf(pid: number): number[] {
  return threadsOf(pid).flatMap((thread) => {
    const file = readProc(`${pid}/task/${thread}/children`);
    const line = file?.toString("latin1").trim();
    return line === undefined || line === "" ? [] : line.split(" ").map(Number);
  });
}

/** All descendants of these processes, zombies included, each once, parents before children. */
export function descendantsOf(roots: Iterable<number>): number[] {
  const known = new Set(roots);
  const found: number[] = [];
  // A loop over a set follows the insertion order and includes members that are added during the loop.
  for (const pid of known) {
    for (const child of childrenOf(pid)) {
      if (known.has(child)) continue;
      known.add(child);
      found.push(child);
    }
  }
  return found;
}

/** The pids of all processes (Linux): each name in `/proc` that is a number is a pid. */
export function allPids(): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0);
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`);
  } catch {
    return []; // the process has ended
  }
}

function readProc(path: string): Buffer | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return readFileSync(`/proc/${path}`);
  } catch {
    return undefined; // the process has ended, or this process may not see it
  }
}
