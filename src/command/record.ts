/**
 * A running server's record for the other commands of the same user: its address
 * and its token, in one private file (0600 in a 0700 directory).
 *
 * A record is valid only while its process lives. Every reader removes the
 * records of dead processes.
 */
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import * as z from "zod";
import { isAlive } from "../host/process-table.ts";
import { CommandError } from "./exit.ts";

export const ServerRecord = z.looseObject({
  pid: z.int().positive(),
  /** Together with the pid, this identifies the process. Not on all systems. */
  start_time: z.number().optional(),
  url: z.string().optional(),
  /** A Unix socket or a Windows pipe. */
  socket: z.string().optional(),
  /** The path under which the server answers, where there is one; `url` has it already. */
  base_url: z.string().optional(),
  token: z.string().nullable(),
  server_id: z.string(),
  /** ISO 8601. */
  started: z.string(),
});
export type ServerRecord = z.infer<typeof ServerRecord>;

type Environment = Readonly<Record<string, string | undefined>>;

/** Lets other commands find the server, until the result is disposed or the process ends. */
export function writeServerRecord(
  record: ServerRecord,
  env: Environment = process.env,
): Disposable {
  readRecords(env); // removes the records of killed servers, because they contain tokens
  const directory = privateDirectory(env);
  const path = join(directory, `server-${record.pid}.json`);
  const draft = `${path}.${randomBytes(4).toString("hex")}`;
  writeFileSync(draft, `${JSON.stringify(record, null, 2)}\n`, {
    mode: 0o600,
    flag: "wx",
  });
  renameSync(draft, path);
  const remove = () => rmSync(path, { force: true });
  process.once("exit", remove);
  return {
    [Symbol.dispose]() {
      process.off("exit", remove);
      remove();
    },
  };
}

/** Makes the directory for records. Throws `refused` if it cannot be made, or belongs to another user. */
export function privateDirectory(env: Environment = process.env): string {
  const directory = runtimeDirectory(env);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    assertPrivate(directory);
    return directory;
  } catch (cause) {
    const { message } = cause as Error;
    throw new CommandError(
      "refused",
      `The server cannot write its record, by which other commands find it: ${message}`,
      {
        hint: "To choose another directory, which must be private: KALLICHORE_RUNTIME_DIR=DIR kallichore serve",
        cause,
      },
    );
  }
}

/** The records of servers that have ended, which the next reader removes. Removes nothing. */
export function deadRecords(env: Environment = process.env): string[] {
  const directory = runtimeDirectory(env);
  const isDead = (name: string): boolean => {
    const pid = pidIn(name);
    if (Number.isNaN(pid)) return false;
    return !isAlive(pid, read(join(directory, name))?.start_time);
  };
  try {
    return readdirSync(directory)
      .filter(isDead)
      .map((name) => join(directory, name));
  } catch {
    return []; // the directory does not exist
  }
}

/** The records of running servers, the newest first. */
export function readRecords(env: Environment = process.env): ServerRecord[] {
  const directory = runtimeDirectory(env);
  const found: ServerRecord[] = [];
  for (const name of namesIn(directory)) {
    const pid = pidIn(name);
    if (Number.isNaN(pid)) continue;
    const path = join(directory, name);
    const record = read(path);
    if (!isAlive(pid, record?.start_time)) rmSync(path, { force: true });
    else if (record?.pid === pid) found.push(record);
  }
  return found.sort((a, b) => b.started.localeCompare(a.started));
}

/** The process that a record is of; NaN if the name is not that of a record. */
function pidIn(name: string): number {
  return Number(/^server-(\d+)\.json$/.exec(name)?.[1]);
}

/** The path of the user's private directory. This does not make it. */
export function runtimeDirectory(env: Environment): string {
  const { KALLICHORE_RUNTIME_DIR, XDG_RUNTIME_DIR, LOCALAPPDATA } = env;
  if (KALLICHORE_RUNTIME_DIR) return KALLICHORE_RUNTIME_DIR;
  if (XDG_RUNTIME_DIR && isOurs(XDG_RUNTIME_DIR)) {
    return join(XDG_RUNTIME_DIR, "kallichore");
  }
  if (process.platform === "win32" && LOCALAPPDATA) {
    return join(LOCALAPPDATA, "kallichore", "run");
  }
  return join(tmpdir(), `kallichore-${userInfo().uid}-servers`);
}

function namesIn(directory: string): string[] {
  try {
    assertPrivate(directory);
    return readdirSync(directory);
  } catch {
    return []; // the directory does not exist, or cannot be trusted
  }
}

/** In a directory that all users can write to, another user may have made a directory of this name. */
function assertPrivate(directory: string): void {
  if (process.platform === "win32") return; // the user's own folder is private there
  const found = lstatSync(directory);
  if (!found.isDirectory()) throw new Error(`${directory} is not a directory`);
  if (found.uid !== process.getuid?.()) {
    throw new Error(`${directory} belongs to another user`);
  }
  if ((found.mode & 0o077) !== 0) chmodSync(directory, 0o700);
}

/** After `sudo`, the variable may name another user's directory. */
function isOurs(directory: string): boolean {
  try {
    return lstatSync(directory).uid === process.getuid?.();
  } catch {
    return false;
  }
}

function read(path: string): ServerRecord | undefined {
  try {
    return ServerRecord.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined; // the record was removed meanwhile, or another version wrote it
  }
}
