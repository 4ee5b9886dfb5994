/**
 * Facts about processes from the operating system. Everything that a server
 * under test starts inherits a mark in its environment. So its leftovers are
 * found, orphans too, and no other process is ever touched.
 */
import { readFileSync, readdirSync } from "node:fs";

import { until } from "./request.ts";

export const MARK = "KCSERVER_CONFORMANCE_RUN";

export interface Found {
  readonly pid: number;
  readonly command: string;
}

/** The running processes with the mark; zombies do not count. Empty without /proc. */
export function marked(mark: string): readonly Found[] {
  const wanted = `${MARK}=${mark}`;
  return pids()
    .filter((pid) => read(pid, "environ").split("\0").includes(wanted))
    .filter((pid) => alive(pid))
    .map((pid) => ({
      pid,
      command: read(pid, "cmdline").replaceAll("\0", " ").trim(),
    }));
}

/** Whether it exists and is not a zombie. */
export function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false; // no such process
  }
  return !/^State:\s+Z/m.test(read(pid, "status"));
}

export async function gone(pid: number, within_ms = 5_000): Promise<void> {
  await until(`process ${pid} ends`, () => Promise.resolve(alive(pid)), {
    holds: (seen) => !seen,
    within_ms,
  });
}

/** One line of /proc/<pid>/status, as text. */
export function statusLine(pid: number, name: string): string {
  return (
    new RegExp(`^${name}:\\s*(.*)$`, "m").exec(read(pid, "status"))?.[1] ?? ""
  );
}

export function comm(pid: number): string {
  return read(pid, "comm").trim();
}

export function parent(pid: number): number {
  return Number(statusLine(pid, "PPid"));
}

function pids(): readonly number[] {
  try {
    return readdirSync("/proc")
      .map(Number)
      .filter((pid) => pid > 1);
  } catch {
    return []; // no /proc on this system
  }
}

function read(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "utf8");
  } catch {
    return ""; // it has ended, or belongs to another user
  }
}
