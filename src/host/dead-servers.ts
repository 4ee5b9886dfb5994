/**
 * Removes the leftovers of killed servers: private files, sockets, and kernels
 * that do not watch their parent process.
 *
 * The directory of a server's private files contains an owner file that
 * identifies the server's process. The directory is removed only if that
 * process has certainly ended. It stays if it belongs to another user, if it was
 * made on another machine or in a container whose processes cannot be seen from
 * here, or in any other case of doubt.
 *
 * A kernel is ended only if its process is certainly the one that the dead
 * server started. The pid and the start time prove that. If the system does not
 * report the start time, a command line with the path of the server's directory
 * proves it, because no other process has that path. A pid alone proves nothing.
 */
import { execFile } from "node:child_process";
import { lstat, opendir, readdir, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import * as z from "zod";
import type { Log } from "../log/log.ts";
import { ProcessGroup } from "./process-group.ts";
import {
  currentOwner,
  DIRECTORY_PREFIX,
  hasEnded,
  OWNER_FILE,
  PROCESS_SUFFIX,
} from "./owner.ts";
import { isAlive } from "./process-table.ts";
import { within } from "../time/within.ts";

export const Owner = z.object({
  pid: z.int().positive(),
  /** Identifies the process together with the pid; known on Linux only. */
  start_time: z.number().nullable(),
  /** Identifies the current boot of the machine; known on Linux only. */
  boot_id: z.string().nullable(),
  /** The namespace in which the pid is valid; known on Linux only. */
  pid_namespace: z.string().nullable(),
  host: z.string(),
});
type Owner = z.infer<typeof Owner>;

export const KernelProcess = z.object({
  pid: z.int().positive(),
  /** Identifies the process together with the pid; known on Linux only. */
  start_time: z.number().nullable(),
});

const ProcessRecord = KernelProcess.extend({ session_id: z.string() });
export type ProcessRecord = z.infer<typeof ProcessRecord>;

/** The most names that are examined in one directory: a public directory may hold any number. */
const MAX_NAMES = 100_000;

/**
 * Removes leftovers in the background, 500 ms after the start, so that the
 * server answers its first clients before. Returns a function that ends the
 * removal; the next server removes the rest.
 */
export function startCleanup(
  directories: Iterable<string>,
  log: Log,
  connectionFiles?: { removeStale(signal: AbortSignal): Promise<void> },
): () => Promise<void> {
  const closing = new AbortController();
  const { signal } = closing;
  const done = delay(CLEANUP_DELAY_MS, undefined, { signal, ref: false }).then(
    async () => {
      await removeLeftovers(directories, log, signal);
      await connectionFiles?.removeStale(signal); // of kernels that have ended by now
    },
    () => {}, // the server ended before the removal began
  );
  return async () => {
    closing.abort();
    await within(done, CLEANUP_TIMEOUT_MS);
  };
}

const CLEANUP_DELAY_MS = 500;

/** How long the server's shutdown waits for a removal in progress. */
const CLEANUP_TIMEOUT_MS = 2_000;

/** Removes the leftovers of this user's dead servers in these directories. Never rejects; ends early when `signal` aborts. */
export async function removeLeftovers(
  parents: Iterable<string>,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (const parent of new Set(parents)) {
    try {
      for await (const name of leftoversIn(parent)) {
        if (signal.aborted) return;
        await removeLeftover(parent, name, log, signal);
      }
    } catch (error) {
      log.debug({ err: error }, `Nothing could be looked for in ${parent}`);
    }
  }
}

async function* leftoversIn(parent: string): AsyncGenerator<string, void> {
  let count = 0;
  for await (const { name } of await opendir(parent, { bufferSize: 256 })) {
    if ((count += 1) > MAX_NAMES) return;
    if (name.startsWith(DIRECTORY_PREFIX) || SOCKET_NAME.test(name)) yield name;
  }
}

async function removeLeftover(
  parent: string,
  name: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const path = join(parent, name);
  try {
    if (SOCKET_NAME.test(name)) {
      if (!(await isDeadSocket(path))) return;
    } else {
      const mark = await deadOwnerOf(path);
      if (mark === undefined) return;
      if (!(await endKernels(path, mark, log, signal))) return;
    }
    await rm(path, { recursive: true, force: true });
    log.info(`Removed the leftovers of a killed server: ${path}`);
  } catch (error) {
    log.warn(
      { err: error },
      `The leftovers of a killed server could not be removed: ${path}`,
    );
  }
}

/** `undefined` if the directory belongs to another user, or if its server may be alive. */
async function deadOwnerOf(path: string): Promise<Owner | undefined> {
  const mark = await ownerOf(path);
  return mark !== undefined && hasEnded(mark) ? mark : undefined;
}

/** Which process has made the directory; `undefined` if it belongs to another user. */
async function ownerOf(path: string): Promise<Owner | undefined> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory() !== true || !belongsToThisUser(found))
    return undefined;
  return readJson(Owner, join(path, OWNER_FILE));
}

/** A directory of private files, or a socket, that a server or a keeper has made. */
export interface RuntimePath {
  readonly path: string;
  /** `undefined`: it is a socket, whose server is dead. */
  readonly owner: Owner | undefined;
  /** Whether its process has certainly ended. */
  readonly isDead: boolean;
  /** Those of its kernels that run. */
  readonly kernels: readonly RunningKernel[];
}

export interface RunningKernel extends ProcessRecord {
  readonly connection_file: string;
}

/** What servers and keepers of this user have in these directories: the sockets of dead ones, and all directories. Removes nothing. */
export async function findRuntimePaths(
  parents: Iterable<string>,
): Promise<RuntimePath[]> {
  const found: RuntimePath[] = [];
  for (const parent of new Set(parents)) {
    try {
      for await (const name of leftoversIn(parent)) {
        const path = join(parent, name);
        if (SOCKET_NAME.test(name)) {
          if (await isDeadSocket(path)) {
            found.push({ path, owner: undefined, isDead: true, kernels: [] });
          }
          continue;
        }
        const owner = await ownerOf(path);
        if (owner === undefined) continue;
        const isDead = hasEnded(owner);
        found.push({
          path,
          owner,
          isDead,
          kernels: await kernelsIn(path, owner),
        });
      }
    } catch {
      // The directory does not exist, or cannot be read.
    }
  }
  return found;
}

async function kernelsIn(
  directory: string,
  owner: Owner,
): Promise<RunningKernel[]> {
  const { boot_id, pid_namespace } = currentOwner();
  const isHere =
    owner.boot_id === boot_id && owner.pid_namespace === pid_namespace;
  if (!isHere) return []; // their process ids mean nothing here
  const found: RunningKernel[] = [];
  for (const name of await readdir(directory)) {
    if (!name.endsWith(PROCESS_SUFFIX)) continue;
    const path = join(directory, name);
    const record = await readJson(ProcessRecord, path);
    if (record !== undefined && (await isTheKernel(record, directory))) {
      const connection_file = path.slice(0, -PROCESS_SUFFIX.length);
      found.push({ ...record, connection_file });
    }
  }
  return found;
}

/** Whether the process runs, and is certainly the one that was started as the kernel. */
async function isTheKernel(
  { pid, start_time }: ProcessRecord,
  directory: string,
): Promise<boolean> {
  const startTime = start_time ?? undefined;
  return (
    isAlive(pid, startTime) &&
    (startTime !== undefined || (await commandOf(pid)).includes(directory))
  );
}

/** Ends the kernels of a dead server. Returns whether all have ended; the connection files of the others stay. */
async function endKernels(
  directory: string,
  mark: Owner,
  log: Log,
  signal: AbortSignal,
): Promise<boolean> {
  if (mark.boot_id !== currentOwner().boot_id) return true; // they ended with the machine
  const names = (await readdir(directory)).filter((name) =>
    name.endsWith(PROCESS_SUFFIX),
  );
  const ended = await Promise.all(
    names.map(async (name) => {
      const record = await readJson(ProcessRecord, join(directory, name));
      if (record === undefined) return true;
      return endKernel(record, { directory, server: mark.pid, log, signal });
    }),
  );
  return !ended.includes(false);
}

/** Sends SIGTERM, then SIGKILL, to the whole process group. Returns false if the kernel is still alive. */
async function endKernel(
  record: ProcessRecord,
  {
    directory,
    server,
    log,
    signal,
  }: {
    readonly directory: string;
    readonly server: number;
    readonly log: Log;
    readonly signal: AbortSignal;
  },
): Promise<boolean> {
  if (!(await isTheKernel(record, directory))) return true;
  const { session_id, pid } = record;
  const startTime = record.start_time ?? undefined;
  const what = `the kernel of session ${session_id} (process ${pid}), left by a killed server (process ${server})`;
  const group = new ProcessGroup(pid, startTime);
  await group.terminate();
  if (!(await waitUntilGone(group, TERM_TIMEOUT_MS, signal)))
    await group.kill();
  const isEnded = await waitUntilGone(group, KILL_TIMEOUT_MS, signal);
  if (isEnded) {
    await group.kill(); // the processes that it left in its group
    log.warn(`Ended ${what}`);
  } else log.warn(`Could not end ${what}`);
  return isEnded;
}

/** How long a kernel may take to end after SIGTERM. */
const TERM_TIMEOUT_MS = 3_000;
/** How long the system may take to end a kernel after SIGKILL. */
const KILL_TIMEOUT_MS = 2_000;
const POLL_MS = 50;

async function waitUntilGone(
  group: ProcessGroup,
  timeout_ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  const latest = performance.now() + timeout_ms;
  while (group.isAlive) {
    if (performance.now() > latest || signal.aborted) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** The process's command with its arguments; empty if the system does not report it. */
async function commandOf(pid: number): Promise<string> {
  try {
    const args = ["-ww", "-o", "command=", "-p", String(pid)];
    const { stdout } = await promisify(execFile)("ps", args);
    return stdout;
  } catch {
    return "";
  }
}

/** `undefined` if the file does not exist or is not yet complete. */
async function readJson<T>(
  schema: z.ZodType<T>,
  path: string,
): Promise<T | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** The default name of kcserver's socket. */
const SOCKET_NAME = /^kc-(\d+)\.sock$/;

/** Whether no process listens on the socket and its server has ended. */
async function isDeadSocket(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() !== true || !belongsToThisUser(found)) return false;
  if (
    isAlive(Number(SOCKET_NAME.exec(path.slice(path.lastIndexOf("kc-")))?.[1]))
  ) {
    return false;
  }
  const probe = connect(path);
  try {
    await once(probe, "connect");
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ECONNREFUSED";
  } finally {
    probe.destroy();
  }
}

export function belongsToThisUser({ uid }: { readonly uid: number }): boolean {
  return process.getuid === undefined || uid === process.getuid();
}
