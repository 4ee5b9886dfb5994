/** What lies in a directory of states, without opening it: nothing is written or removed. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { hasEnded, type Owner } from "../host/owner.ts";
import { readPrivate } from "../host/private-file.ts";
import {
  bytesIn,
  SESSION_FILE,
  SESSION_FORMAT,
  type SessionFile,
} from "./session-files.ts";
import { SERVER_FORMAT } from "./state.ts";

/** The state of one server. */
export interface SurveyedState {
  readonly name: string;
  readonly directory: string;
  /** `undefined`: no process uses it. */
  readonly lock: Lock | undefined;
  /** Why `server.json` cannot be read. */
  readonly problem: string | undefined;
  readonly sessions: readonly SurveyedSession[];
  readonly bytes: number;
  /** When a file of it was last written: milliseconds since 1970. */
  readonly writtenAt: number;
}

export interface Lock {
  readonly path: string;
  /** `undefined` if it was not written completely, when its process was killed. */
  readonly owner: Owner | undefined;
  /** Whether its process may run. */
  readonly isHeld: boolean;
}

export interface SurveyedSession {
  readonly directory: string;
  /** `undefined` if the session cannot be read. */
  readonly file: SessionFile | undefined;
  /** Why it cannot be read. */
  readonly problem: string | undefined;
  readonly bytes: number;
}

/** The states of a directory, by name; none if there is no such directory. */
export function surveyStates(root: string): SurveyedState[] {
  return namesIn(root)
    .filter((name) => isState(join(root, name)))
    .sort()
    .map((name) => surveyState(root, name));
}

export function surveyState(root: string, name: string): SurveyedState {
  const directory = join(root, name);
  const sessions = namesIn(join(directory, "sessions")).map((folder) =>
    surveySession(join(directory, "sessions", folder)),
  );
  const own = sizes(directory);
  return {
    name,
    directory,
    lock: lockIn(directory),
    problem: problemOf(
      () => readPrivate(join(directory, "server.json")) as { format?: unknown },
      SERVER_FORMAT,
    ).problem,
    sessions,
    bytes: own.bytes + sessions.reduce((sum, { bytes }) => sum + bytes, 0),
    writtenAt: Math.max(
      own.writtenAt,
      ...sessions.map(({ directory: path }) => sizes(path).writtenAt),
    ),
  };
}

/** Whether a process uses the state, or may. */
export function lockIn(directory: string): Lock | undefined {
  const path = join(directory, "lock");
  try {
    const owner = readPrivate(path) as Owner;
    return { path, owner, isHeld: !hasEnded(owner) };
  } catch (error) {
    if (error instanceof SyntaxError) {
      return { path, owner: undefined, isHeld: false };
    }
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    return { path, owner: undefined, isHeld: true }; // it cannot be read
  }
}

function isState(directory: string): boolean {
  const names = namesIn(directory);
  return names.includes("server.json") || names.includes("sessions");
}

function surveySession(directory: string): SurveyedSession {
  const { value: file, problem } = problemOf(
    () => readPrivate(join(directory, SESSION_FILE)) as SessionFile,
    SESSION_FORMAT,
  );
  return { directory, file, problem, bytes: bytesOf(directory) };
}

function problemOf<T extends { readonly format?: unknown }>(
  read: () => T,
  format: number,
): { readonly value?: T; readonly problem: string | undefined } {
  try {
    const value = read();
    if (value.format === format) return { value, problem: undefined };
    const has = typeof value.format === "number" ? value.format : "none";
    return {
      problem: `it has format ${has}, and this program reads format ${format}`,
    };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { problem: code === "ENOENT" ? "its file is not there" : message };
  }
}

function bytesOf(directory: string): number {
  try {
    return bytesIn(directory);
  } catch {
    return 0; // it is not a directory, or was removed meanwhile
  }
}

function sizes(directory: string): { bytes: number; writtenAt: number } {
  let bytes = 0;
  let writtenAt = 0;
  for (const name of namesIn(directory)) {
    const found = statSync(join(directory, name), { throwIfNoEntry: false });
    if (found?.isFile() !== true) continue;
    bytes += found.size;
    writtenAt = Math.max(writtenAt, found.mtimeMs);
  }
  return { bytes, writtenAt };
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // there is none, or it cannot be read
  }
}
