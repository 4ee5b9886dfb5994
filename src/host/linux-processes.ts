/**
 * The processes of Linux, as they are followed from one sample to the next.
 *
 * A process that is followed keeps its file open: to read that again costs a
 * seventh of opening it. Who is new is found in one list of all processes, once
 * for all trees, instead of asking each thread of each process for its children.
 */
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import {
  descendantsOf,
  type ProcessStat,
  statIn,
  statOf,
} from "./process-table.ts";

/** Files that are kept open; of further processes they are opened each time. */
const MOST_FILES = 1_000;

/** Longer than any line of `stat`. */
const line = Buffer.allocUnsafe(4096);

export class LinuxProcesses {
  /** By pid: of those that are followed. */
  readonly #files = new Map<number, number>();
  /** Those that were asked for in this sample. */
  #asked = new Map<number, ProcessStat | undefined>();
  #listed: ReadonlySet<number> = new Set();
  /** Who began since the sample before, by parent. */
  #begun = new Map<number, number[]>();

  /** A new sample begins. */
  begin(): void {
    for (const pid of this.#files.keys()) {
      if (!this.#asked.has(pid)) this.#close(pid);
    }
    this.#asked = new Map();
    this.#begun = new Map();
    const before = this.#listed;
    this.#listed = listed();
    if (before.size === 0) return;
    for (const pid of this.#listed) {
      if (before.has(pid)) continue;
      const parent = statOf(pid)?.parent;
      if (parent === undefined) continue; // it has ended
      const siblings = this.#begun.get(parent);
      if (siblings === undefined) this.#begun.set(parent, [pid]);
      else siblings.push(pid);
    }
  }

  /** Nobody is followed any more. */
  forget(): void {
    for (const pid of this.#files.keys()) this.#close(pid);
    this.#listed = new Set();
  }

  /** `undefined` when there is no such process. */
  statOf(pid: number): ProcessStat | undefined {
    if (!this.#asked.has(pid)) this.#asked.set(pid, this.#read(pid));
    return this.#asked.get(pid);
  }

  /** All processes below these: where those are new, whichever there are; else those that began since the last sample. */
  descendantsOf(
    roots: Iterable<number>,
    { areNew }: { readonly areNew: boolean },
  ): number[] {
    if (areNew) return descendantsOf(roots);
    const known = new Set(roots);
    const found: number[] = [];
    for (const pid of known) {
      for (const child of this.#begun.get(pid) ?? []) {
        if (known.has(child)) continue;
        known.add(child);
        found.push(child);
      }
    }
    return found;
  }

  #read(pid: number): ProcessStat | undefined {
    const file = this.#files.get(pid);
    if (file !== undefined) {
      const stat = readFrom(file, pid);
      if (stat !== undefined) return stat;
      this.#close(pid); // it has ended, and its pid may be another's
    }
    if (this.#files.size >= MOST_FILES) return statOf(pid);
    try {
      const opened = openSync(`/proc/${pid}/stat`, "r");
      this.#files.set(pid, opened);
      return readFrom(opened, pid);
    } catch {
      return statOf(pid); // it has ended, or we may open no more
    }
  }

  #close(pid: number): void {
    const file = this.#files.get(pid);
    this.#files.delete(pid);
    if (file !== undefined) closeSync(file);
  }
}

function readFrom(file: number, pid: number): ProcessStat | undefined {
  try {
    const size = readSync(file, line, 0, line.length, 0);
    return size === 0 ? undefined : statIn(line.subarray(0, size), pid);
  } catch {
    return undefined; // it has ended
  }
}

/** All of them; a name that is a number is a process. */
function listed(): Set<number> {
  const pids = new Set<number>();
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (pid > 0) pids.add(pid);
  }
  return pids;
}
