/** Processor time and memory of a process, read from /proc: Linux only. */
import { type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";

const TICK_US = 10_000; // user space has this clock tick on every Linux
const FLAT_MS = 200;
const STEP_MS = 30;
const SETTLE_MS = 900_000;

const started = new Set<ChildProcess>();
let isEnding = false;

/** Registers a child process, which is ended when the bench ends for any reason. */
export function owned<T extends ChildProcess>(child: T): T {
  started.add(child);
  child.once("exit", () => started.delete(child));
  if (isEnding) child.kill();
  return child;
}

/** Ends all registered processes, and those that are registered later. Servers end their kernels. */
export async function endAll(): Promise<void> {
  isEnding = true;
  await Promise.all([...started].map(ended));
}

/** The processor time of a process with all its threads, in µs, in steps of 10 ms. Its child processes are not included. */
export function cpuOf(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

export function memoryOf(pid: number): { rss: number; peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string) =>
    Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1]) * 1024;
  return { rss: of("VmRSS"), peak: of("VmHWM") };
}

/**
 * Resolves with the processor time of the process when it and its child processes
 * are at rest: the work for a flood continues after its last message. A thread that
 * waits for a processor is not at rest. `keeperPid`: the server's keeper, which
 * counts too; 0: it has none.
 */
export async function settled(pid: number, keeperPid = 0): Promise<number> {
  const own = keeperPid === 0 ? [pid] : [pid, keeperPid];
  await atRest(() => [...own, ...own.flatMap(childrenOf)]);
  return own.reduce((sum, one) => sum + cpuOf(one), 0);
}

/** Resolves when the server's kernels are at rest. The server itself is never at rest while a client sends requests. */
export function kernelsAtRest(pid: number): Promise<void> {
  return atRest(() => childrenOf(pid));
}

async function atRest(pids: () => readonly number[]): Promise<void> {
  const deadline = performance.now() + SETTLE_MS;
  let last = NaN;
  let since = performance.now();
  for (;;) {
    if (performance.now() > deadline)
      throw new Error(`a process is not at rest after ${SETTLE_MS / 1000} s`);
    const all = pids().map(lookAt);
    const used = all.reduce((sum, { cpu }) => sum + cpu, 0);
    const now = performance.now();
    if (used !== last || all.some(({ isBusy }) => isBusy)) since = now;
    else if (now - since > FLAT_MS) break;
    last = used;
    await later(STEP_MS);
  }
}

function lookAt(pid: number): { cpu: number; isBusy: boolean } {
  try {
    const isBusy = readdirSync(`/proc/${pid}/task`).some((thread) =>
      / [RD] /.test(readFileSync(`/proc/${pid}/task/${thread}/stat`, "latin1")),
    );
    return { cpu: cpuOf(pid), isBusy };
  } catch {
    return { cpu: 0, isBusy: false }; // the process has ended
  }
}

function childrenOf(pid: number): number[] {
  const threads = readdirSync(`/proc/${pid}/task`);
  return threads.flatMap((thread) =>
    readFileSync(`/proc/${pid}/task/${thread}/children`, "utf8")
      .split(" ")
      .filter((word) => word.trim() !== "")
      .map(Number),
  );
}

export async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill();
  const timer = setTimeout(() => child.kill("SIGKILL"), 30_000);
  await exited;
  clearTimeout(timer);
}

export function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
