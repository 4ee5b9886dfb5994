/**
 * Files of a server that name its process and those of its kernels, so that a
 * later server can tell whether they have ended. `dead-servers.ts` reads them.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { isAlive, startTimeOf } from "./process-table.ts";

/** The prefix of the names of such directories. */
export const DIRECTORY_PREFIX = "kallichore-";
/** The file in such a directory that identifies its owner. */
export const OWNER_FILE = "owner.json";
/** The suffix that turns the name of a connection file into the name of the file that records the kernel's process. */
export const PROCESS_SUFFIX = ".process";

export interface KernelProcess {
  readonly pid: number;
  /** Identifies the process together with the pid; known on Linux only. */
  readonly start_time: number | null;
}

export interface Owner extends KernelProcess {
  /** Identifies the current boot of the machine; known on Linux only. */
  readonly boot_id: string | null;
  /** The namespace in which the pid is valid; known on Linux only. */
  readonly pid_namespace: string | null;
  readonly host: string;
}

export interface ProcessRecord extends KernelProcess {
  readonly session_id: string;
}

export function kernelProcess(pid: number): KernelProcess {
  return { pid, start_time: startTimeOf(pid) ?? null };
}

/** The record of a kernel that was just started. */
export function processRecord(session_id: string, pid: number): ProcessRecord {
  return { session_id, ...kernelProcess(pid) };
}

/** The owner of the directories that this process makes. */
export function currentOwner(): Owner {
  return {
    pid: process.pid,
    start_time: startTimeOf(process.pid) ?? null,
    boot_id: bootId() ?? null,
    pid_namespace: pidNamespace() ?? null,
    host: hostname(),
  };
}

/** Whether the process has certainly ended. */
export function hasEnded(mark: Owner): boolean {
  const here = currentOwner();
  if (mark.host !== here.host) return false;
  if (mark.boot_id !== here.boot_id) return true; // the machine was restarted
  if (mark.pid_namespace !== here.pid_namespace) return false;
  return !isAlive(mark.pid, mark.start_time ?? undefined);
}

function bootId(): string | undefined {
  return readOnLinux(() =>
    readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim(),
  );
}

function pidNamespace(): string | undefined {
  return readOnLinux(() => readlinkSync("/proc/self/ns/pid"));
}

function readOnLinux(read: () => string): string | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return read();
  } catch {
    return undefined; // this process may not read it
  }
}
