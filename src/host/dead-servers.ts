/**
 * What servers that were killed have left behind, and its removal: private
 * files, sockets, and kernels that do not watch who started them.
 *
 * A directory of a server's private files bears a mark that says whose it is.
 * It is removed when that process is certainly gone: not when it belongs to
 * another user, was made on another machine, or in a container whose processes
 * cannot be seen from here; what cannot be judged stays.
 *
 * A kernel is ended when its process is certainly the one that the dead server
 * started: by pid and start time, or where the system does not tell the start
 * time, by a command line with the path of the server's directory, which nobody
 * else can have. A pid alone proves nothing.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { execFile } from "node:child_process";
import { lstat, opendir, readdir, readFile, rm } from "node:fs/promises";
import { connect } from "node:net";
import { once } from "node:events";
import { hostname } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import * as z from "zod";
import type { Log } from "../log/log.ts";
import { ProcessGroup } from "./process-group.ts";
import { isAlive, startTimeOf } from "./process-table.ts";
import { within } from "../time/within.ts";

/** How the names of such directories begin. */
export const PREFIX = "kallichore-";
/** The file in them that says whose they are. */
export const MARK = "owner.json";

const Mark = z.object({
  pid: z.int().positive(),
  /** With the pid the process's identity; unknown but on Linux. */
  start_time: z.number().nullable(),
  /** Of the present run of the machine; unknown but on Linux. */
  boot_id: z.string().nullable(),
  /** In which the pid means something; unknown but on Linux. */
  pid_namespace: z.string().nullable(),
  host: z.string(),
});
type Mark = z.infer<typeof Mark>;

/** What the name of a connection file gets behind it where the kernel's process is written down. */
export const PROCESS = ".process";

const ProcessRecord = z.object({
  session_id: z.string(),
  pid: z.int().positive(),
  /** With the pid the process's identity; unknown but on Linux. */
  start_time: z.number().nullable(),
});
type ProcessRecord = z.infer<typeof ProcessRecord>;

/** What is written down of a kernel that was just started. */
export function processRecord(session_id: string, pid: number): ProcessRecord {
  return { session_id, pid, start_time: startTimeOf(pid) ?? null };
}

/** Names looked at in one directory; a directory for everybody may hold any number. */
const MOST_NAMES = 100_000;

/** Whose the directory is that this process makes. */
export function ownMark(): Mark {
  return {
    pid: process.pid,
    start_time: startTimeOf(process.pid) ?? null,
    boot_id: bootId() ?? null,
    pid_namespace: pidNamespace() ?? null,
    host: hostname(),
  };
}

/** Whether the process is certainly gone. */
export function isDead(mark: Mark): boolean {
  const here = ownMark();
  if (mark.host !== here.host) return false;
  if (mark.boot_id !== here.boot_id) return true; // the machine was started anew
  if (mark.pid_namespace !== here.pid_namespace) return false;
  return !isAlive(mark.pid, mark.start_time ?? undefined);
}

/** Removes what dead servers left, once a server that has just begun has answered its first clients, and beside whatever else it does. Returns what ends that: what is not removed yet is left to the next server. */
export function tidy(
  directories: Iterable<string>,
  log: Log,
): () => Promise<void> {
  const closing = new AbortController();
  const { signal } = closing;
  const done = delay(TIDY_AFTER_MS, undefined, { signal, ref: false }).then(
    () => removeLeftovers(directories, log, signal),
    () => {}, // the server has ended before
  );
  return async () => {
    closing.abort();
    await within(done, TIDYING_MS);
  };
}

const TIDY_AFTER_MS = 500;

/** How long the end of a server waits for a removal that is under way. */
const TIDYING_MS = 2_000;

/** Removes what dead servers of this user have left in these directories. Never rejects; ends early when `signal` aborts. */
export async function removeLeftovers(
  parents: Iterable<string>,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  for (const parent of new Set(parents)) {
    try {
      for await (const name of namesIn(parent)) {
        if (signal.aborted) return;
        await removeOne(parent, name, log, signal);
      }
    } catch (error) {
      log.debug({ err: error }, `Nothing could be looked for in ${parent}`);
    }
  }
}

async function* namesIn(parent: string): AsyncGenerator<string, void> {
  let count = 0;
  for await (const { name } of await opendir(parent, { bufferSize: 256 })) {
    if ((count += 1) > MOST_NAMES) return;
    if (name.startsWith(PREFIX) || SOCKET.test(name)) yield name;
  }
}

async function removeOne(
  parent: string,
  name: string,
  log: Log,
  signal: AbortSignal,
): Promise<void> {
  const path = join(parent, name);
  try {
    if (SOCKET.test(name)) {
      if (!(await isDeadSocket(path))) return;
    } else {
      const mark = await markOfDead(path);
      if (mark === undefined) return;
      if (!(await endKernels(path, mark, log, signal))) return;
    }
    await rm(path, { recursive: true, force: true });
    log.info(`Removed what a server that was killed had left: ${path}`);
  } catch (error) {
    log.warn({ err: error }, `What a dead server has left stays: ${path}`);
  }
}

/** `undefined` where the directory is not ours, or its process may live. */
async function markOfDead(path: string): Promise<Mark | undefined> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isDirectory() !== true || !isOurs(found)) return undefined;
  const mark = await read(Mark, join(path, MARK));
  return mark !== undefined && isDead(mark) ? mark : undefined;
}

/** Whether all kernels of that server are gone now. Those that are not keep their connection files. */
async function endKernels(
  directory: string,
  mark: Mark,
  log: Log,
  signal: AbortSignal,
): Promise<boolean> {
  if (mark.boot_id !== ownMark().boot_id) return true; // they ended with the machine
  const names = (await readdir(directory)).filter((name) =>
    name.endsWith(PROCESS),
  );
  const ended = await Promise.all(
    names.map(async (name) => {
      const record = await read(ProcessRecord, join(directory, name));
      if (record === undefined) return true;
      return endKernel(record, { directory, server: mark.pid, log, signal });
    }),
  );
  return !ended.includes(false);
}

/** SIGTERM, then SIGKILL, to the whole process group. False where it is still there. */
async function endKernel(
  { session_id, pid, start_time }: ProcessRecord,
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
  const startTime = start_time ?? undefined;
  const isTheKernel =
    isAlive(pid, startTime) &&
    (startTime !== undefined || (await commandOf(pid)).includes(directory));
  if (!isTheKernel) return true;
  const what = `the kernel of session ${session_id} (process ${pid}), which a server that was killed (process ${server}) had left`;
  const group = new ProcessGroup(pid, startTime);
  await group.terminate();
  if (!(await isGone(group, TERM_MS, signal))) await group.kill();
  const isEnded = await isGone(group, KILL_MS, signal);
  if (isEnded) {
    await group.kill(); // what it left behind in its group
    log.warn(`Ended ${what}`);
  } else log.warn(`Could not end ${what}`);
  return isEnded;
}

/** How long a kernel may take to end after SIGTERM. */
const TERM_MS = 3_000;
/** How long the system may take to end it after SIGKILL. */
const KILL_MS = 2_000;
const LOOK_MS = 50;

async function isGone(
  group: ProcessGroup,
  patience_ms: number,
  signal: AbortSignal,
): Promise<boolean> {
  const latest = performance.now() + patience_ms;
  while (group.isAlive) {
    if (performance.now() > latest || signal.aborted) return false;
    await delay(LOOK_MS);
  }
  return true;
}

/** With its arguments; empty where the system does not tell. */
async function commandOf(pid: number): Promise<string> {
  try {
    const args = ["-ww", "-o", "command=", "-p", String(pid)];
    const { stdout } = await promisify(execFile)("ps", args);
    return stdout;
  } catch {
    return "";
  }
}

/** `undefined` where there is none, or it is not yet whole. */
async function read<T>(
  schema: z.ZodType<T>,
  path: string,
): Promise<T | undefined> {
  try {
    return schema.parse(JSON.parse(await readFile(path, "utf8")));
  } catch {
    return undefined;
  }
}

/** kcserver's own socket, where it was not told another. */
const SOCKET = /^kc-(\d+)\.sock$/;

/** Nobody listens on it, and its process is not there. */
async function isDeadSocket(path: string): Promise<boolean> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() !== true || !isOurs(found)) return false;
  if (isAlive(Number(SOCKET.exec(path.slice(path.lastIndexOf("kc-")))?.[1]))) {
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

function isOurs({ uid }: { readonly uid: number }): boolean {
  return process.getuid === undefined || uid === process.getuid();
}

function bootId(): string | undefined {
  return known(() =>
    readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim(),
  );
}

function pidNamespace(): string | undefined {
  return known(() => readlinkSync("/proc/self/ns/pid"));
}

function known(read: () => string): string | undefined {
  if (process.platform !== "linux") return undefined;
  try {
    return read();
  } catch {
    return undefined; // hidden from us
  }
}
