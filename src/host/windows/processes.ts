/**
 * The process table as Windows tells it, at one moment: one list of all
 * processes, from which the trees are read; only who is in one is looked at.
 */
import type { ProcessStat } from "../process-table.ts";
import type { WindowsApi } from "./api.ts";

/** 10 ms, in units of 100 ns. */
const TICK = 100_000;
/** In which resident memory is counted; any would do. */
const PAGE_BYTES = 4096;

export class WindowsProcesses {
  readonly #api: WindowsApi;
  readonly #threads = new Map<number, number>();
  readonly #parents = new Map<number, number>();
  readonly #children = new Map<number, number[]>();
  readonly #stats = new Map<number, ProcessStat | undefined>();

  constructor(api: WindowsApi) {
    this.#api = api;
    for (const { pid, parent, threads } of api.processes()) {
      this.#threads.set(pid, threads);
      this.#parents.set(pid, parent);
      const siblings = this.#children.get(parent);
      if (siblings === undefined) this.#children.set(parent, [pid]);
      else siblings.push(pid);
    }
  }

  pageBytes(): number {
    return PAGE_BYTES;
  }

  /** `undefined` when there is no such process, or it is not ours to see. */
  statOf(pid: number): ProcessStat | undefined {
    if (!this.#stats.has(pid)) this.#stats.set(pid, this.#measured(pid));
    return this.#stats.get(pid);
  }

  /** All processes below these, each once, parents before their children. */
  descendantsOf(roots: Iterable<number>): number[] {
    const known = new Set(roots);
    const found: number[] = [];
    for (const pid of known) {
      for (const child of this.#children.get(pid) ?? []) {
        if (known.has(child) || !this.#isChild(child, pid)) continue;
        known.add(child);
        found.push(child);
      }
    }
    return found;
  }

  /** A parent's number may be another's by now: who is younger than its child is not its parent. */
  #isChild(pid: number, parent: number): boolean {
    const [child, began] = [this.statOf(pid), this.statOf(parent)];
    if (child === undefined || began === undefined) return false;
    return child.startTime >= began.startTime;
  }

  #measured(pid: number): ProcessStat | undefined {
    const measured = this.#threads.has(pid)
      ? this.#api.measure(pid)
      : undefined;
    if (measured === undefined) return undefined;
    return {
      pid,
      state: "R",
      parent: this.#parents.get(pid) ?? 0,
      group: 0,
      cpuTicks: measured.cpuTime / TICK,
      threads: this.#threads.get(pid) ?? 1,
      startTime: measured.startTime,
      residentPages: measured.memory / PAGE_BYTES,
    };
  }
}
