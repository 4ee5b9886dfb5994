/**
 * A state as one file, to be moved to another machine. In gzip: lines of JSON,
 * and after the line of a file its bytes and a newline.
 *
 *     {"kallichore_state":1,"version":…,"created":…,"host":…,"name":…,"formats":{…},"has_token":…,"has_env":…,"sessions":…,"files":…,"bytes":…}
 *     {"path":"server.json","bytes":…}
 *     …
 *     {"sha256":…}
 *     …
 *     {"end":true}
 *
 * `sha256` is the checksum of everything before its line, uncompressed. A path is
 * `server.json`, or `sessions/<32 hexadecimal digits>/<name>`. A later version of
 * the format has a higher number in the first line.
 */
import { JOURNAL_FORMAT } from "../journal/chunk.ts";
import { SESSION_FORMAT } from "./session-files.ts";
import { SERVER_FORMAT } from "./state.ts";

export const ARCHIVE_FORMAT = 1;

/** The first line. */
export interface ArchiveHead {
  readonly kallichore_state: number;
  /** Of the program that has written it. */
  readonly version: string;
  /** ISO 8601. */
  readonly created: string;
  /** The machine that it comes from. */
  readonly host: string;
  /** Of the state. */
  readonly name: string;
  readonly formats: Readonly<Record<string, number>>;
  readonly has_token: boolean;
  /** Whether it has the values of environment variables, as far as the state had them. */
  readonly has_env: boolean;
  readonly sessions: number;
  readonly files: number;
  /** Of all files. */
  readonly bytes: number;
}

export interface ArchivedFile {
  readonly path: string;
  readonly bytes: number;
}

export const formats = {
  server: SERVER_FORMAT,
  session: SESSION_FORMAT,
  journal: JOURNAL_FORMAT,
} as const;

/** The name of a session's folder. */
export const SESSION_FOLDER = /^[0-9a-f]{32}$/;
/** The name of a file of a session. */
export const SESSION_FILE_NAME = /^[a-z][a-z0-9_-]{0,31}(\.[a-z0-9]{1,16})?$/;

/** Whether a file of this path can be in an archive: no other path is written to. */
export function isArchivedPath(path: string): boolean {
  if (path === "server.json") return true;
  const [folder, session = "", name = "", ...more] = path.split("/");
  return (
    folder === "sessions" &&
    SESSION_FOLDER.test(session) &&
    SESSION_FILE_NAME.test(name) &&
    more.length === 0
  );
}

/** Bytes of a line. */
export const LINE_LIMIT = 64 * 1024;
