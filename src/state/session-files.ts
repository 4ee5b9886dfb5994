/** The files of one kept session: `session.json`, `requests.log` and the segments of its journal. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { findSegments } from "../journal/found.ts";
import type { FoundJournal } from "../journal/segment.ts";
import { newJournalId } from "../journal/journal.ts";
import { NO_MARK } from "../journal/chunk.ts";
import type { Log } from "../log/log.ts";
import type {
  RequestRecord,
  SavedSession,
  SessionStore,
} from "../session/store.ts";
import { LogFile } from "./log-file.ts";
import { readPrivate, writePrivate } from "./private-file.ts";

const FORMAT = 1;
const SESSION = "session.json";
const REQUESTS = "requests.log";
/** Its absence says that numbers of the journal may have been lost with the memory of the earlier process. */
const DURABLE = "durable";

interface SessionFile {
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
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writePrivate(join(directory, DURABLE), {});
  const { log } = LogFile.open(join(directory, REQUESTS));
  const found: FoundJournal = {
    segments: [],
    last: 0,
    mark: NO_MARK,
    count: 0,
    removed: 0,
  };
  const journal_id = newJournalId();
  const rest = { saved: undefined, requests: [] };
  return storeOf(
    { directory, journal_id, found, ...rest, records: log },
    options,
  );
}

/** The store of a session that an earlier process has written. Rejects if it cannot be read; the message says why. */
export async function openSessionFiles(
  folder: string,
  options: SessionFilesOptions,
): Promise<{ readonly store: SessionStore; readonly saved: SavedSession }> {
  const directory = join(options.directory, folder);
  const file = readPrivate(join(directory, SESSION)) as SessionFile;
  if (file.format !== FORMAT) {
    throw new RangeError(
      `${join(directory, SESSION)} has format ${file.format}; this program reads format ${FORMAT}`,
    );
  }
  const saved = file.session;
  const wasDurable = existsSync(join(directory, DURABLE));
  const found = wasDurable
    ? await findSegments(directory, file.journal_id)
    : await emptied(directory, file.journal_id);
  if (found.removed > 0) {
    options.log.warn(
      { session: saved.spec.session_id },
      `The last ${found.removed} bytes of the journal were not complete, and were removed`,
    );
  }
  const journal_id = wasDurable ? file.journal_id : newJournalId();
  writePrivate(join(directory, DURABLE), {});
  const { log: records, records: requests } = LogFile.open(
    join(directory, REQUESTS),
  );
  // They count only together with the journal: code that ended would run again.
  if (!wasDurable) records.replace([]);
  const opened = { directory, journal_id, found, saved, records };
  const store = storeOf(
    {
      ...opened,
      requests: wasDurable ? (requests as RequestRecord[]) : [],
    },
    options,
  );
  return { store, saved };
}

/** The disk was full when the earlier process ended: its last numbers are not known, so none of the journal is used. */
async function emptied(
  directory: string,
  journal_id: string,
): Promise<FoundJournal> {
  const found = await findSegments(directory, journal_id);
  for (const { path } of found.segments) rmSync(path, { force: true });
  return { ...found, segments: [], last: 0, mark: NO_MARK };
}

interface Opened extends Omit<
  SessionStore,
  "save" | "record" | "recordBytes" | "compact" | "durable" | "close" | "remove"
> {
  readonly records: LogFile;
}

function storeOf(
  { records, ...opened }: Opened,
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
  };
  return {
    ...opened,
    save(session) {
      const { spec, missing_variables: missing } = session;
      const names = spec.env.map(({ name }) => name);
      const saved = keepEnv
        ? session
        : {
            ...session,
            spec: { ...spec, env: [] },
            missing_variables: [...missing, ...names],
          };
      const file: SessionFile = { format: FORMAT, journal_id, session: saved };
      attempt("The state of a session", () =>
        writePrivate(join(directory, SESSION), file),
      );
    },
    record(record) {
      attempt("A request", () => records.append(record));
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

/** Whether the folder is that of a session. */
export function isSessionFolder(directory: string, folder: string): boolean {
  return existsSync(join(directory, folder, SESSION));
}
