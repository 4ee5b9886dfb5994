/** The files of one kept session: `session.json`, `requests.log`, the segments of its journal, and checkpoints. */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { findSegments, type FootersAhead } from "../journal/found.ts";
import { type FoundJournal, NOTHING_FOUND } from "../journal/segment.ts";
import { newJournalId } from "../journal/journal.ts";
import type { Log } from "../log/log.ts";
import type {
  RequestRecord,
  SavedSession,
  SessionStore,
} from "../session/store.ts";
import { CheckpointFiles } from "./checkpoint-file.ts";
import { LogFile } from "./log-file.ts";
import { PositionFile } from "./position-file.ts";
import {
  makePrivateDirectory,
  readPrivate,
  writePrivate,
  writePrivateText,
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
  /** What was read before the process that had the state let go of it. */
  readonly ahead?: FootersAhead | undefined;
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
  const nothing = {
    journal_id: newJournalId(),
    found: NOTHING_FOUND,
    requests: [],
    saved: undefined,
  };
  return storeOf({ directory, records, positions, ...nothing }, options);
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
  const found = await findSegments(directory, options.ahead);
  const { session: saved, journal_id } = file;
  const { session_id } = saved.spec;
  if (found.removed > 0) {
    options.log.warn(
      { session: session_id },
      `The last ${found.removed} bytes of the journal were not complete, and were removed`,
    );
  }
  const log = LogFile.open(join(directory, REQUESTS));
  const requests = log.records as RequestRecord[];
  const positions = PositionFile.open(join(directory, POSITIONS));
  const written = JSON.stringify(file);
  const opened = { directory, saved, positions, records: log.log, written };
  if (existsSync(join(directory, DURABLE))) {
    const own = { directory, journal_id, log: options.log };
    const checkpoints = CheckpointFiles.of(own, found.last);
    const rest = { journal_id, found, requests, checkpoints };
    return { store: storeOf({ ...opened, ...rest }, options), saved };
  }
  options.log.warn(
    { session: session_id },
    "The end of the journal was not written when the earlier server ended: the journal gets a new id",
  );
  const left = afterLoss(found, requests);
  try {
    positions.limit(left.found.last);
    opened.records.replace(left.requests);
    const json = encodedSession(left.journal_id, saved, options);
    writePrivateText(join(directory, SESSION_FILE), json);
    opened.written = json;
    writePrivate(join(directory, DURABLE), {});
  } catch (error) {
    // The next process does the same again.
    options.log.error({ err: error, directory }, NOT_WRITTEN);
  }
  return { store: storeOf({ ...opened, ...left }, options), saved };
}

/**
 * What is left of a session whose disk was full when the earlier process ended.
 * Clients may know numbers that were not written. So the journal gets a new id,
 * and one number is left out, which readers receive as a gap. What the requests
 * say of later numbers is true of that one.
 */
function afterLoss(found: FoundJournal, requests: readonly RequestRecord[]) {
  const gap = found.last + 1;
  const upToGap = (number: number) => Math.min(number, gap);
  return {
    journal_id: newJournalId(),
    found: { ...found, last: gap },
    hasLost: true,
    requests: requests.map((record): RequestRecord => {
      switch (record.kind) {
        case "accepted":
          return { ...record, after: upToGap(record.after) };
        case "running":
          return { ...record, seq: upToGap(record.seq) };
        case "over": {
          const { first, last } = record;
          return {
            ...record,
            ...(first !== undefined && { first: upToGap(first) }),
            ...(last !== undefined && { last: upToGap(last) }),
            end: upToGap(record.end),
          };
        }
        default:
          return record;
      }
    }),
  };
}

const NOT_REMOVED =
  "It cannot be noted that the journal is not written: after a crash, clients may miss entries";
const NOT_WRITTEN = "The state of a session cannot be written";

/** What the session's file says of it, as JSON. */
function encodedSession(
  journal_id: string,
  whole: SavedSession,
  { keepEnv }: Pick<SessionFilesOptions, "keepEnv">,
): string {
  const session = keepEnv ? whole : withoutValues(whole);
  const file: SessionFile = { format: SESSION_FORMAT, journal_id, session };
  return JSON.stringify(file);
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
  /** What the session's file has, as JSON. */
  readonly written?: string | undefined;
}

function storeOf(
  { records, positions, written: found, ...opened }: Opened,
  options: SessionFilesOptions,
): SessionStore {
  const { log } = options;
  const { directory, journal_id } = opened;
  const checkpoints =
    opened.checkpoints ?? new CheckpointFiles({ directory, journal_id, log });
  /** From then on another process may use the files. */
  let isClosed = false;
  let written = found;
  const attempt = (failed: string, act: () => void): void => {
    if (isClosed) return;
    try {
      act();
    } catch (error) {
      log.error({ err: error, directory }, failed);
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
    checkpoints,
    save(session) {
      const json = encodedSession(journal_id, session, options);
      if (json === written) return;
      attempt(NOT_WRITTEN, () => {
        writePrivateText(join(directory, SESSION_FILE), json);
        written = json;
      });
    },
    record(record) {
      attempt("A request cannot be written", () => records.append(record));
    },
    get bytes() {
      return bytesIn(directory);
    },
    positions: {
      found: positions.found,
      keep: (reader, position) =>
        attempt("The position of a client cannot be written", () =>
          positions.keep(reader, position),
        ),
    },
    get recordBytes() {
      return records.bytes;
    },
    compact(all) {
      attempt("The requests cannot be written", () => records.replace(all));
    },
    durable(isDurable) {
      const path = join(directory, DURABLE);
      if (isDurable) attempt(NOT_WRITTEN, () => writePrivate(path, {}));
      else attempt(NOT_REMOVED, () => rmSync(path, { force: true }));
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
