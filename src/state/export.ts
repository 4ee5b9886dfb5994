/** Writes a state that no server uses into one file. */
import { createHash } from "node:crypto";
import { readdirSync, statSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import { hostname } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGzip } from "node:zlib";
import { readPrivate } from "../host/private-file.ts";
import {
  ARCHIVE_FORMAT,
  type ArchiveHead,
  formats,
  SESSION_FILE_NAME,
  SESSION_FOLDER,
} from "./archive-format.ts";
import {
  SESSION_FILE,
  type SessionFile,
  withoutValues,
} from "./session-files.ts";
import { assertStateName } from "./root.ts";
import { lockState, type ServerFile } from "./state.ts";

export interface ExportOptions {
  readonly root: string;
  /** Of the state. */
  readonly name: string;
  /** The archive; a file that exists is not overwritten. */
  readonly file: string;
  /** Of the program. */
  readonly version: string;
  /** Whether the token is written too. Without it, the state gets a new one. */
  readonly withToken: boolean;
  /** Whether the values of environment variables are written, as far as the state has them. */
  readonly withEnv: boolean;
}

/** If it fails, no archive is left. It rejects with an error whose message is for people, or with a system error. */
export async function exportState(
  options: ExportOptions,
): Promise<ArchiveHead> {
  const { root, name, file } = options;
  assertStateName(name);
  const directory = join(root, name);
  if (statSync(directory, { throwIfNoEntry: false }) === undefined) {
    throw new Error(`There is no state ${directory}`);
  }
  const unlock = lockState(directory);
  try {
    const entries = entriesOf(directory, options);
    const head = headOf(entries, options);
    // Fails if there is such a file; what fails later removes it.
    const output = await open(file, "wx", 0o600).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      throw new Error(`The file ${file} exists already`);
    });
    try {
      await pipeline(
        Readable.from(content(head, entries), { objectMode: false }),
        createGzip(),
        output.createWriteStream(),
      );
    } catch (error) {
      await rm(file, { force: true });
      throw error;
    }
    return head;
  } finally {
    unlock();
  }
}

/** A file, or what is written in its place. */
type Entry = { readonly path: string; readonly bytes: number } & (
  { readonly source: string } | { readonly text: Buffer }
);

function entriesOf(directory: string, options: ExportOptions): Entry[] {
  const { withToken, withEnv } = options;
  const server = readPrivate(join(directory, "server.json")) as ServerFile;
  const { format, server_id, epoch, token } = server; // the secret stays with the kernels
  const kept = { format, server_id, epoch, ...(withToken && { token }) };
  const entries = [textEntry("server.json", kept)];
  const sessions = join(directory, "sessions");
  for (const folder of readdirSync(sessions)) {
    if (!SESSION_FOLDER.test(folder)) continue;
    for (const name of readdirSync(join(sessions, folder))) {
      const source = join(sessions, folder, name);
      const found = statSync(source);
      if (!SESSION_FILE_NAME.test(name) || !found.isFile()) continue;
      const path = `sessions/${folder}/${name}`;
      const shown =
        name === SESSION_FILE && !withEnv ? valuesRemoved(source) : undefined;
      entries.push(
        shown === undefined
          ? { path, bytes: found.size, source }
          : textEntry(path, shown),
      );
    }
  }
  return entries;
}

function textEntry(path: string, value: unknown): Entry {
  const text = Buffer.from(JSON.stringify(value));
  return { path, bytes: text.length, text };
}

/** The session without the values of its variables. */
function valuesRemoved(path: string): SessionFile {
  try {
    const file = readPrivate(path) as SessionFile;
    return { ...file, session: withoutValues(file.session) };
  } catch (cause) {
    throw new Error(
      `${path} cannot be read. To see how to put the session aside: kallichore doctor`,
      { cause },
    );
  }
}

function headOf(
  entries: readonly Entry[],
  { name, version, withToken, withEnv }: ExportOptions,
): ArchiveHead {
  const sessions = entries.filter(({ path }) => path.endsWith(SESSION_FILE));
  return {
    kallichore_state: ARCHIVE_FORMAT,
    version,
    created: new Date().toISOString(),
    host: hostname(),
    name,
    formats,
    has_token: withToken,
    has_env: withEnv,
    sessions: sessions.length,
    files: entries.length,
    bytes: entries.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

async function* content(
  head: ArchiveHead,
  entries: readonly Entry[],
): AsyncGenerator<Buffer> {
  const sum = createHash("sha256");
  const summed = (bytes: Buffer): Buffer => {
    sum.update(bytes);
    return bytes;
  };
  yield summed(lineOf(head));
  for (const entry of entries) {
    const { path, bytes } = entry;
    yield summed(lineOf({ path, bytes }));
    for await (const chunk of "text" in entry ? [entry.text] : bytesOf(entry)) {
      yield summed(chunk);
    }
    yield summed(Buffer.from("\n"));
    yield summed(lineOf({ sha256: sum.copy().digest("hex") }));
  }
  yield lineOf({ end: true });
}

/** Exactly as many bytes as were counted. */
async function* bytesOf({
  source,
  bytes,
}: {
  readonly source: string;
  readonly bytes: number;
}): AsyncGenerator<Buffer> {
  await using file = await open(source);
  for (let at = 0; at < bytes;) {
    const size = Math.min(bytes - at, CHUNK);
    const { bytesRead, buffer } = await file.read(
      ...([Buffer.allocUnsafe(size), 0, size, at] as const),
    );
    if (bytesRead === 0) throw new Error(`${source} was cut off meanwhile`);
    yield buffer.subarray(0, bytesRead);
    at += bytesRead;
  }
}

const CHUNK = 256 * 1024;

function lineOf(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}
