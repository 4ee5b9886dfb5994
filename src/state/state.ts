/**
 * The state directory of a server: what outlives it.
 *
 *     <root>/<name>/lock            who uses it
 *     <root>/<name>/server.json     the server's id, token and epoch
 *     <root>/<name>/sessions/…      a folder for each kept session
 *
 * The root can hold the states of many servers. One process at a time uses a state.
 */
import { randomBytes, randomUUID } from "node:crypto";
import {
  linkSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { currentOwner, hasEnded, type Owner } from "../host/owner.ts";
import type { Log } from "../log/log.ts";
import { FootersAhead } from "../journal/found.ts";
import type { SavedSession, SessionStore } from "../session/store.ts";
import {
  makePrivateDirectory,
  readPrivate,
  writePrivate,
} from "../host/private-file.ts";
import { stateDirectory } from "./root.ts";
import {
  isSessionFolder,
  newSessionFiles,
  openSessionFiles,
  readSessionFile,
} from "./session-files.ts";

export const SERVER_FORMAT = 1;

/** What clients find again when the server starts anew. */
export interface ServerState {
  readonly server_id: string;
  /** `null`: no token is needed. */
  readonly token: string | null;
  /** Grows at each start: the keeper obeys the server with the highest. */
  readonly epoch: number;
  /** With it a server attaches to its keeper. */
  readonly keeper_secret: string;
  /** The TCP port on which the server last listened; `null`: on none. */
  readonly port: number | null;
}

export interface StateOptions {
  readonly root: string;
  /** Letters, digits, `.`, `_` and `-`. */
  readonly name: string;
  /** Default: the token of the last start, or a new one. `null`: none is needed. */
  readonly token?: string | null | undefined;
  /** Whether the values of environment variables are written too. */
  readonly keepEnv: boolean;
  readonly log: Log;
  /** What was read before the process that had the state let go of it. */
  readonly ahead?: StateAhead | undefined;
}

export interface FoundSession {
  readonly store: SessionStore;
  readonly saved: SavedSession;
}

export interface State extends Disposable {
  readonly directory: string;
  readonly server: ServerState;
  /** The sessions that the server before kept. One that cannot be read is logged and left where it is. */
  sessions(): Promise<readonly FoundSession[]>;
  /** The store of a new session. Throws a system error. */
  create(session_id: string): SessionStore;
  /** The server listens now, on this TCP port or on none. If it replaces another one, that one may end. */
  listens(port: number | null): void;
  /** Lets another process use the state. */
  [Symbol.dispose](): void;
}

/** Throws an error whose message is for people. */
export function openState(options: StateOptions): State {
  const directory = stateDirectory(options.root, options.name);
  try {
    return opened(directory, options);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === undefined) throw cause;
    throw new Error(
      `The state directory ${directory} cannot be used: ${message}. Make it writable, or give another one with --state-dir`,
      { cause },
    );
  }
}

function opened(directory: string, options: StateOptions): State {
  const { log, keepEnv, ahead } = options;
  const sessions = join(directory, "sessions");
  makePrivateDirectory(sessions);
  const unlock = lockState(directory);
  try {
    const server = serverState(directory, options.token);
    const files = { directory: sessions, keepEnv, log, ahead };
    return {
      directory,
      server,
      async sessions() {
        const folders = readdirSync(sessions).filter((folder) =>
          isSessionFolder(sessions, folder),
        );
        const found = await Promise.all(
          folders.map((folder) =>
            openSessionFiles(folder, files).catch((error: unknown) => {
              const path = join(sessions, folder);
              log.error(
                { err: error, path },
                "A kept session cannot be read. Its files stay",
              );
              return undefined;
            }),
          ),
        );
        return found
          .filter((each) => each !== undefined)
          .sort((a, b) => a.saved.created.localeCompare(b.saved.created));
      },
      create: (session_id) => newSessionFiles(session_id, files),
      listens(port) {
        const path = join(directory, SERVER);
        writePrivate(path, { format: SERVER_FORMAT, ...server, port });
        announcement(directory).withdraw();
      },
      [Symbol.dispose]: unlock,
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

const SERVER = "server.json";

export interface ServerFile extends ServerState {
  readonly format: number;
}

/** What is read of a state while another process uses it. */
export type StateAhead = FootersAhead;

/** Reads what a server would need to open the state, and changes nothing. Rejects with an error whose message is for people if it would fail. */
export async function readAhead(directory: string): Promise<StateAhead> {
  serverFileIn(directory);
  const sessions = join(directory, "sessions");
  const ahead = new FootersAhead();
  for (const folder of readdirSync(sessions)) {
    if (!isSessionFolder(sessions, folder)) continue;
    readSessionFile(sessions, folder);
    await ahead.read(join(sessions, folder));
  }
  return ahead;
}

function serverState(
  directory: string,
  token: string | null | undefined,
): ServerState {
  const before = serverFileIn(directory);
  const server: ServerState = {
    server_id: before?.server_id ?? randomUUID(),
    token:
      token === undefined
        ? (before?.token ?? randomBytes(32).toString("hex"))
        : token,
    epoch: (before?.epoch ?? 0) + 1,
    keeper_secret: before?.keeper_secret ?? randomBytes(32).toString("hex"),
    port: before?.port ?? null,
  };
  writePrivate(join(directory, SERVER), { format: SERVER_FORMAT, ...server });
  return server;
}

/** `undefined`: no server has used the directory. */
function serverFileIn(directory: string): ServerFile | undefined {
  const path = join(directory, SERVER);
  let file: ServerFile;
  try {
    file = readPrivate(path) as ServerFile;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  if (file.format === SERVER_FORMAT) return file;
  throw new Error(
    `${path} has format ${file.format}; this program reads format ${SERVER_FORMAT}`,
  );
}

/** Takes the lock of the directory. Throws an error whose message is for people if a process has it. Returns a function that releases it. */
export function lockState(directory: string): () => void {
  const path = join(directory, "lock");
  const takeover = join(directory, "lock.takeover");
  const mine = join(directory, `lock.${randomBytes(6).toString("hex")}`);
  const unlock = () => rmSync(path, { force: true });
  writeFileSync(mine, JSON.stringify(currentOwner()), { mode: 0o600 });
  try {
    for (let tries = 0; tries < LOCK_TRIES; tries += 1) {
      if (isLinked(mine, path)) return unlock;
      if (!isStale(directory, path)) continue; // it was released
      // One process at a time may replace the lock: otherwise two that have found it stale would both have it.
      if (!isLinked(mine, takeover)) {
        removeStale(directory, takeover);
        continue;
      }
      try {
        if (!isStale(directory, path)) continue;
        renameSync(mine, path);
        return unlock;
      } finally {
        rmSync(takeover, { force: true });
      }
    }
  } finally {
    rmSync(mine, { force: true });
  }
  throw new Error(
    `The lock ${path} cannot be taken: other processes take it again and again`,
  );
}

const LOCK_TRIES = 50;

/** Makes `path` another name of the file; false if there is a file. */
function isLinked(file: string, path: string): boolean {
  try {
    linkSync(file, path);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    return false;
  }
}

/** Whether the lock is that of a process that has ended; false if there is no lock any more. Throws if its process lives. */
function isStale(directory: string, lock: string): boolean {
  try {
    assertEnded(directory, readPrivate(lock) as Owner);
    return true;
  } catch (error) {
    if (error instanceof SyntaxError) return true; // it was not written completely
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw error;
  }
}

/** A process that was killed while it replaced a lock has left the right to do so. */
function removeStale(directory: string, takeover: string): void {
  const aside = join(directory, `lock.${randomBytes(6).toString("hex")}`);
  if (liveOwnerIn(takeover) !== undefined) return; // it will soon be done
  try {
    renameSync(takeover, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return; // it is done
    throw error;
  }
  // Meanwhile, another process may have removed the old one and begun.
  if (liveOwnerIn(aside) !== undefined) isLinked(aside, takeover);
  rmSync(aside, { force: true });
}

function assertEnded(directory: string, owner: Owner): void {
  if (hasEnded(owner)) return;
  throw new Error(
    `The state ${directory} is used by the process with the id ${owner.pid}: end it, replace it with --replace, or give another name with --state-name`,
  );
}

/** The process that uses the state; `undefined`: none does. */
export function userOf(directory: string): Owner | undefined {
  return liveOwnerIn(join(directory, "lock"));
}

/** Returns the process that a file names, if that process runs. A file that is missing or incomplete names none. */
function liveOwnerIn(path: string): Owner | undefined {
  try {
    const owner = readPrivate(path) as Owner;
    return hasEnded(owner) ? undefined : owner;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** A process announces in the state that it will go on for the server that uses it. */
export interface Announcement {
  /** The process that has announced itself, and lives. */
  readonly successor: Owner | undefined;
  /** Announces this process. */
  make(): void;
  /** This process serves, or gives up. The announcement of another one stays. */
  withdraw(): void;
}

export function announcement(directory: string): Announcement {
  const path = join(directory, "successor");
  return {
    get successor() {
      return liveOwnerIn(path);
    },
    make: () => writePrivate(path, currentOwner()),
    withdraw() {
      if (liveOwnerIn(path)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}
