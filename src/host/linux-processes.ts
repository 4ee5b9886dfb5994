/**
 * Follows Linux processes from one sample to the next.
 *
 * The `stat` file of a followed process stays open: to read an open file again
 * costs a seventh of opening it. New processes are found in one list of all
 * processes, once for all trees. To read the children of each thread of each
 * process would cost more.
 */
import { closeSync, openSync, readSync } from "node:fs";
import {
  allPids,
  descendantsOf,
  type ProcessStat,
  statIn,
  statOf,
} from "./process-table.ts";

/** The most files that are kept open; the files of further processes are opened for each sample. */
const MAX_OPEN_FILES = 1_000;

/** Longer than any line of `stat`. */
const buffer = Buffer.allocUnsafe(4096);

export interface LinuxProcesses {
  /** Begins a new sample. */
  beginSample(): void;
  /** Stops following all processes. */
  forget(): void;
  /** `undefined` if there is no such process. */
  statOf(pid: number): ProcessStat | undefined;
  /** The descendants of these processes: all of them if `areNew`, else those that were started since the last sample. */
  descendantsOf(
    roots: Iterable<number>,
    options: { readonly areNew: boolean },
  ): number[];
}

export function linuxProcesses(): LinuxProcesses {
  /** The open files of the followed processes, by pid. */
  const files = new Map<number, number>();
  /** The processes that were read in this sample. */
  let stats = new Map<number, ProcessStat | undefined>();
  let all: ReadonlySet<number> = new Set();
  /** The processes that were started since the last sample, by parent. */
  let started = new Map<number, number[]>();

  const close = (pid: number): void => {
    const file = files.get(pid);
    files.delete(pid);
    if (file !== undefined) closeSync(file);
  };
  const read = (pid: number): ProcessStat | undefined => {
    const file = files.get(pid);
    if (file !== undefined) {
      const stat = readFrom(file, pid);
      if (stat !== undefined) return stat;
      close(pid); // it has ended, and its pid may belong to another process
    }
    if (files.size >= MAX_OPEN_FILES) return statOf(pid);
    try {
      const opened = openSync(`/proc/${pid}/stat`, "r");
      files.set(pid, opened);
      return readFrom(opened, pid);
    } catch {
      return statOf(pid); // it has ended, or this process may open no more files
    }
  };

  return {
    beginSample() {
      for (const pid of files.keys()) {
        if (!stats.has(pid)) close(pid);
      }
      stats = new Map();
      started = new Map();
      const before = all;
      all = new Set(allPids());
      if (before.size === 0) return;
      for (const pid of all) {
        if (before.has(pid)) continue;
        const parent = statOf(pid)?.parent;
        if (parent === undefined) continue; // it has ended
        const siblings = started.get(parent);
        if (siblings === undefined) started.set(parent, [pid]);
        else siblings.push(pid);
      }
    },
    forget() {
      for (const pid of files.keys()) close(pid);
      all = new Set();
    },
    statOf(pid) {
      if (!stats.has(pid)) stats.set(pid, read(pid));
      return stats.get(pid);
    },
    descendantsOf(roots, { areNew }) {
      if (areNew) return descendantsOf(roots);
      const known = new Set(roots);
      const found: number[] = [];
      for (const pid of known) {
        for (const child of started.get(pid) ?? []) {
          if (known.has(child)) continue;
          known.add(child);
          found.push(child);
        }
      }
      return found;
    },
  };
}

function readFrom(file: number, pid: number): ProcessStat | undefined {
  try {
    const size = readSync(file, buffer, 0, buffer.length, 0);
    return size === 0 ? undefined : statIn(buffer.subarray(0, size), pid);
  } catch {
    return undefined; // it has ended
  }
}
