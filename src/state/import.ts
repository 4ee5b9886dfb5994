/** Makes a state from a file that `export.ts` has written. The state appears when all of it is there and checked. */
import { createHash, randomBytes } from "node:crypto";
import {
  createReadStream,
  existsSync,
  renameSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { makePrivateDirectory } from "../host/private-file.ts";
import { createGunzip } from "node:zlib";
import {
  ARCHIVE_FORMAT,
  type ArchivedFile,
  type ArchiveHead,
  formats,
  isArchivedPath,
  LINE_LIMIT,
} from "./archive-format.ts";
import { assertStateName } from "./root.ts";

export interface ImportOptions {
  readonly root: string;
  /** Of the new state. Default: the name that it had. */
  readonly name?: string | undefined;
  /** The archive. */
  readonly file: string;
  /** Called before the state appears, to write what else belongs to it. */
  readonly complete: (directory: string, head: ArchiveHead) => void;
}

export interface Imported {
  readonly name: string;
  readonly directory: string;
  readonly head: ArchiveHead;
}

/** If it fails, no state is left. It rejects with an error whose message is for people, or with a system error. */
export async function importState(options: ImportOptions): Promise<Imported> {
  const { root, file } = options;
  const reader = new ArchiveReader(file);
  try {
    const head = headIn(await reader.line(), file);
    const name = options.name ?? head.name;
    assertStateName(name);
    const directory = join(root, name);
    if (existsSync(directory)) {
      throw new Error(
        `The state ${directory} exists: give the new one another name with --state-name`,
      );
    }
    makePrivateDirectory(root);
    const { bavail, bsize } = statfsSync(root);
    if (head.bytes > bavail * bsize) {
      throw new Error(
        `The archive has ${head.bytes} bytes, and the disk of ${root} has room for ${bavail * bsize}`,
      );
    }
    const draft = join(root, `.import-${randomBytes(6).toString("hex")}`);
    makePrivateDirectory(join(draft, "sessions"));
    try {
      await unpack(reader, head, draft);
      options.complete(draft, head);
      renameSync(draft, directory); // fails if another process has made it meanwhile
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      throw error;
    }
    return { name, directory, head };
  } finally {
    reader.close();
  }
}

/** Throws an error that says why this program cannot read the archive. */
function headIn(line: unknown, file: string): ArchiveHead {
  const head = line as Partial<ArchiveHead>;
  const { kallichore_state: format, version = "unknown" } = head;
  if (!isCount(format)) {
    throw new Error(`${file} is no archive of a state of Kallichore`);
  }
  const others = Object.entries(head.formats ?? {}).filter(
    ([what, number]) => formats[what as keyof typeof formats] !== number,
  );
  if (format !== ARCHIVE_FORMAT || others.length > 0) {
    const [what, number] = others[0] ?? ["archive", format];
    throw new Error(
      `${file} was written by version ${version}: its ${what} has format ${number}, which this program cannot read. Import it with that version, or a later one`,
    );
  }
  const { host, name, bytes, files, sessions } = head;
  const isWhole =
    typeof host === "string" &&
    typeof name === "string" &&
    [bytes, files, sessions].every(isCount);
  if (!isWhole) throw new BrokenArchive(file, "its first line");
  return head as ArchiveHead;
}

async function unpack(
  reader: ArchiveReader,
  { files, bytes }: ArchiveHead,
  directory: string,
): Promise<void> {
  let left = bytes;
  for (let count = 0; count < files; count += 1) {
    const entry = (await reader.line()) as Partial<ArchivedFile>;
    const { path, bytes: size } = entry;
    if (
      typeof path !== "string" ||
      !isArchivedPath(path) ||
      !isCount(size) ||
      size > left
    ) {
      throw reader.broken(`entry ${count + 1}`);
    }
    left -= size;
    await unpackFile(reader, join(directory, path), size);
    const sum = reader.sum();
    const { sha256 } = (await reader.line()) as { sha256?: unknown };
    if (sha256 !== sum) throw reader.broken(`the checksum of ${path}`);
  }
  const { end } = (await reader.line()) as { end?: unknown };
  if (end !== true || left !== 0 || !(await reader.isAtEnd())) {
    throw reader.broken("its end");
  }
}

async function unpackFile(
  reader: ArchiveReader,
  path: string,
  size: number,
): Promise<void> {
  makePrivateDirectory(dirname(path));
  await using file = await open(path, "wx", 0o600);
  for (let left = size; left > 0;) {
    const chunk = await reader.some(left);
    await file.writeFile(chunk);
    left -= chunk.length;
  }
  const [newline] = await reader.some(1);
  if (newline !== NEWLINE) throw reader.broken(`the end of ${path}`);
}

class BrokenArchive extends Error {
  constructor(file: string, where: string, cause?: unknown) {
    super(`The archive ${file} is broken: ${where} cannot be read`, { cause });
  }
}

const NEWLINE = 0x0a;

class ArchiveReader {
  readonly #file: string;
  readonly #source: ReturnType<typeof createReadStream>;
  readonly #chunks: AsyncIterator<Buffer>;
  readonly #sum = createHash("sha256");
  #rest: Buffer = Buffer.alloc(0);

  constructor(file: string) {
    this.#file = file;
    const unzip = createGunzip();
    this.#source = createReadStream(file);
    this.#source.on("error", (error) => unzip.destroy(error)); // with a system error
    this.#source.pipe(unzip);
    this.#chunks = (unzip as AsyncIterable<Buffer>)[Symbol.asyncIterator]();
  }

  /** The checksum of everything that was read. */
  sum(): string {
    return this.#sum.copy().digest("hex");
  }

  /** The JSON of the next line. */
  async line(): Promise<unknown> {
    const parts: Buffer[] = [];
    let length = 0;
    for (;;) {
      const rest = await this.#present();
      const end = rest.indexOf(NEWLINE);
      const part = end === -1 ? rest : rest.subarray(0, end);
      parts.push(part);
      length += part.length;
      if (length > LINE_LIMIT) throw this.broken("a line");
      this.#take(end === -1 ? rest.length : end + 1);
      if (end === -1) continue;
      try {
        const value: unknown = JSON.parse(Buffer.concat(parts).toString());
        if (typeof value === "object" && value !== null) return value;
      } catch {
        // Not JSON.
      }
      throw this.broken("a line");
    }
  }

  /** The next bytes, at most so many. */
  async some(most: number): Promise<Buffer> {
    const rest = await this.#present();
    this.#take(most);
    return rest.subarray(0, most);
  }

  async isAtEnd(): Promise<boolean> {
    if (this.#rest.length > 0) return false;
    return (await this.#next()) === undefined;
  }

  broken(where: string): Error {
    return new BrokenArchive(this.#file, where);
  }

  close(): void {
    this.#source.destroy();
    void this.#chunks.return?.();
  }

  #take(length: number): void {
    this.#sum.update(this.#rest.subarray(0, length));
    this.#rest = this.#rest.subarray(length);
  }

  /** At least one byte. */
  async #present(): Promise<Buffer> {
    while (this.#rest.length === 0) {
      const chunk = await this.#next();
      if (chunk === undefined) throw this.broken("its end");
      this.#rest = chunk;
    }
    return this.#rest;
  }

  async #next(): Promise<Buffer | undefined> {
    try {
      const next = await this.#chunks.next();
      return next.done === true ? undefined : next.value;
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (!code.startsWith("Z_")) throw error; // of the file system
      throw new BrokenArchive(this.#file, "its compressed content", error);
    }
  }
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}
