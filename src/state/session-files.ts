/** The files of one kept session: `session.json`, `requests.log` and the segments of its journal. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { findSegments } from "../journal/found.ts";
import { NOTHING_FOUND, SEGMENT_PREFIX } from "../journal/segment.ts";
import { newJournalId } from "../journal/journal.ts";
import type { Log } from "../log/log.ts";
import type {
  RequestRecord,
  SavedSession,
  SessionStore,
} from "../session/store.ts";
import { LogFile } from "./log-file.ts";
import { PositionFile } from "./position-file.ts";
import {
  makePrivateDirectory,
  readPrivate,
  writePrivate,
} from "../host/private-file.ts";

export const SESSION_FORMAT = 1;
export const SESSION_FILE = "session.json";
const REQUESTS = "requests.log";
const POSITIONS = "positions.log";
/** Its absence says that numbers of the journal may have been lost with the memory of the earlier process. */
const DURABLE = "durable";

export interface SessionFile {
  readonly format: number;
  readonly journal_id: string;
  readonly session: SavedSession;
}

export interface SessionFilesOptions {
  /** The folder of all sessions. */
  readonly directory: string;
  /** Whether the values of environment variables are written too. */
  readonly keepEnv: boolean;
  readonly log: Log;
}

/** The name of a session's folder: any session id gives a safe name. */
export function folderOf(session_id: string): string {
  return createHash("sha256").update(session_id).digest("hex").slice(0, 32);
}

/** The store of a new session. Throws a system error. */
export function newSessionFiles(
  session_id: string,
  options: SessionFilesOptions,
): SessionStore {
  const directory = join(options.directory, folderOf(session_id));
  rmSync(directory, { recursive: true, force: true }); // of a session that was being deleted
  makePrivateDirectory(directory);
  writePrivate(join(directory, DURABLE), {});
  const { log: records } = LogFile.open(join(directory, REQUESTS));
  const positions = PositionFile.open(join(directory, POSITIONS));
  return storeOf(
    { directory, saved: undefined, records, ...nothing(positions) },
    options,
  );
}

/** Throws a system error, or a `RangeError` if another version has written it. */
export function readSessionFile(sessions: string, folder: string): SessionFile {
  const path = join(sessions, folder, SESSION_FILE);
  const file = readPrivate(path) as SessionFile;
  if (file.format === SESSION_FORMAT) return file;
  throw new RangeError(
    `${path} has format ${file.format}; this program reads format ${SESSION_FORMAT}`,
  );
}

/** The store of a session that an earlier process has written. Rejects if it cannot be read; the message says why. */
export async function openSessionFiles(
  folder: string,
  options: SessionFilesOptions,
): Promise<{ readonly store: SessionStore; readonly saved: SavedSession }> {
  const directory = join(options.directory, folder);
  const file = readSessionFile(options.directory, folder);
  const saved = file.session;
  if (!existsSync(join(directory, DURABLE))) {
    return begunAnew(directory, saved, options);
  }
  const { journal_id } = file;
  const found = await findSegments(directory, journal_id);
  if (found.removed > 0) {
    options.log.warn(
      { session: saved.spec.session_id },
      `The last ${found.removed} bytes of the journal were not complete, and were removed`,
    );
  }
  const log = LogFile.open(join(directory, REQUESTS));
  const requests = log.records as RequestRecord[];
  const positions = PositionFile.open(join(directory, POSITIONS));
  const opened = { directory, journal_id, found, saved, requests, positions };
  const store = storeOf({ ...opened, records: log.log }, options);
  return { store, saved };
}

/**
 * The disk was full when the earlier process ended, so the last numbers of its
 * journal are not known: a new journal begins. Requests count only together with
 * the old one; without it, code that had ended would run again.
 */
function begunAnew(
  directory: string,
  saved: SavedSession,
  options: SessionFilesOptions,
): { readonly store: SessionStore; readonly saved: SavedSession } {
  for (const name of readdirSync(directory)) {
    if (name.startsWith(SEGMENT_PREFIX)) rmSync(join(directory, name));
  }
  const { log: records } = LogFile.open(join(directory, REQUESTS));
  records.replace([]);
  rmSync(join(directory, POSITIONS), { force: true });
  const positions = PositionFile.open(join(directory, POSITIONS));
  const opened = { directory, saved, records, ...nothing(positions) };
  const store = storeOf(opened, options);
  store.save(saved); // with the id of the new journal
  store.durable(true);
  return { store, saved };
}

/** What a session has that has written nothing. */
function nothing(positions: PositionFile) {
  return {
    journal_id: newJournalId(),
    found: NOTHING_FOUND,
    requests: [],
    positions,
  };
}

interface Opened extends Omit<
  SessionStore,
  | "save"
  | "record"
  | "bytes"
  | "recordBytes"
  | "positions"
  | "compact"
  | "durable"
  | "close"
  | "remove"
> {
  readonly records: LogFile;
  readonly positions: PositionFile;
}

function storeOf(
  { records, positions, ...opened }: Opened,
  { keepEnv, log }: SessionFilesOptions,
): SessionStore {
  const { directory, journal_id } = opened;
  /** From then on another process may use the files. */
  let isClosed = false;
  const attempt = (what: string, act: () => void): void => {
    if (isClosed) return;
    try {
      act();
    } catch (error) {
      log.error({ err: error, directory }, `${what} cannot be written`);
    }
  };
  const close = (): void => {
    if (isClosed) return;
    isClosed = true;
    records.close();
    positions.close();
  };
  return {
    ...opened,
    save(session) {
      const saved = keepEnv ? session : withoutValues(session);
      const file: SessionFile = {
        format: SESSION_FORMAT,
        journal_id,
        session: saved,
      };
      attempt("The state of a session", () =>
        writePrivate(join(directory, SESSION_FILE), file),
      );
    },
    record(record) {
      attempt("A request", () => records.append(record));
    },
    get bytes() {
      return bytesIn(directory);
    },
    positions: {
      found: positions.found,
      keep: (reader, position) =>
        attempt("The position of a client", () =>
          positions.keep(reader, position),
        ),
    },
    get recordBytes() {
      return records.bytes;
    },
    compact(all) {
      attempt("The requests", () => records.replace(all));
    },
    durable(isDurable) {
      const path = join(directory, DURABLE);
      if (isClosed) return;
      if (isDurable)
        attempt("The state of a session", () => writePrivate(path, {}));
      else rmSync(path, { force: true });
    },
    close,
    remove() {
      close();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The session with only the names of its environment variables. */
export function withoutValues(session: SavedSession): SavedSession {
  const { spec, missing_variables: missing } = session;
  const names = spec.env.map(({ name }) => name);
  return {
    ...session,
    spec: { ...spec, env: [] },
    missing_variables: [...missing, ...names],
  };
}

/** Bytes of all files in a session's folder. Throws a system error. */
export function bytesIn(directory: string): number {
  let bytes = 0;
  for (const name of readdirSync(directory)) {
    const found = statSync(join(directory, name), { throwIfNoEntry: false });
    bytes += found?.size ?? 0; // it was removed meanwhile
  }
  return bytes;
}

/** Whether the folder is that of a session. */
export function isSessionFolder(directory: string, folder: string): boolean {
  return existsSync(join(directory, folder, SESSION_FILE));
}
