/** Blocks: chunks of a file, and how they get into files and out again. */
import type { FileHandle } from "node:fs/promises";
import { fromChunk, toChunk } from "./chunk.ts";
import { runAtOnce, requestScheduler } from "../time/request-scheduler.ts";
import { Entries } from "./entries.ts";
import { lengthOf } from "../jupyter/pieces.ts";
import { takeMemory } from "../jupyter/record-memory.ts";

/** What is needed of a file. */
export type OpenFile = (
  path: string,
  flags: "wx" | "r",
  mode?: number,
) => Promise<File>;

export interface File extends Pick<FileHandle, "truncate" | "close"> {
  read(
    into: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  writev(
    pieces: readonly Uint8Array[],
    position: number,
  ): Promise<{ readonly bytesWritten: number }>;
}

/** A run of entries, without holes. */
export interface Block {
  readonly first: number;
  readonly last: number;
}

/** A block before it has its place. */
export interface EncodedBlock extends Block {
  readonly entries: Entries;
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
}

/** Entries as a block of that journal. */
export async function encodeBlock(
  entries: Entries,
  journal_id: string,
): Promise<EncodedBlock> {
  const { slab, from, to, first, last, size } = entries;
  const chunk = toChunk(slab.partsOf(from, to), journal_id);
  const pieces = await inSteps(chunk, size);
  return { first, last, entries, pieces, length: lengthOf(pieces) };
}

/** The result of work at so many bytes: in turns with others where it is long. */
function inSteps<T>(work: Generator<void, T>, bytes: number): T | Promise<T> {
  return bytes < LARGE ? runAtOnce(work) : requestScheduler.run(work);
}

const LARGE = 4 * 1024 * 1024; // bytes

/** Where a block lies. */
export interface BlockLocation {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** How long a file stays open when nobody reads it. */
const IDLE_MS = 1_000;

/** A file that blocks are read from. */
interface Opened {
  readonly path: string;
  readonly file: Promise<File>;
  users: number;
  /** Whether it is closed when its last user has done. */
  closesWhenUnused: boolean;
}

/** Reads blocks. Keeps the file open that was read last: a late reader takes many blocks of it. */
export class BlockReader {
  readonly #open: OpenFile;
  #idle: NodeJS.Timeout | undefined;
  #last: Opened | undefined;

  constructor(open: OpenFile) {
    this.#open = open;
  }

  /** The slab has memory of its own. Rejects when the file is gone, or holds something else. */
  async read({ path, offset, length }: BlockLocation): Promise<Entries> {
    const opened = this.#openedAt(path);
    opened.users += 1;
    try {
      const bytes = takeMemory(length).subarray(0, length);
      if ((await readInto(await opened.file, bytes, offset)) < length) {
        throw new RangeError("A block is cut off");
      }
      const slab = await inSteps(fromChunk(bytes), length);
      return new Entries(slab, 0, slab.count);
    } finally {
      opened.users -= 1;
      if (opened.closesWhenUnused) closeUnused(opened);
      else this.#closeLater();
    }
  }

  /** The file is closed as soon as nobody reads it. */
  closeFile(): void {
    const opened = this.#last;
    this.#last = undefined;
    if (opened === undefined) return;
    opened.closesWhenUnused = true;
    closeUnused(opened);
  }

  #closeLater(): void {
    clearTimeout(this.#idle);
    this.#idle = setTimeout(() => this.closeFile(), IDLE_MS).unref();
  }

  #openedAt(path: string): Opened {
    if (this.#last?.path === path) return this.#last;
    this.closeFile();
    const file = this.#open(path, "r");
    const opened = { path, file, users: 0, closesWhenUnused: false };
    this.#last = opened;
    file.catch(() => {
      if (this.#last === opened) this.#last = undefined;
    });
    return opened;
  }
}

function closeUnused({ users, file }: Opened): void {
  if (users > 0) return;
  file.then((opened) => opened.close()).catch(() => {}); // whoever read has heard why
}

/** A disk may take less than it is given at once. */
export async function writeAll(
  handle: File,
  pieces: readonly Uint8Array[],
  position: number,
): Promise<void> {
  let rest = pieces.filter(({ length }) => length > 0);
  let at = position;
  while (rest.length > 0) {
    const some = rest.slice(0, WRITEV_LIMIT);
    const { bytesWritten } = await handle.writev(some, at);
    if (bytesWritten === 0) throw new RangeError("The disk takes nothing");
    at += bytesWritten;
    rest = without(rest, bytesWritten);
  }
}

/** Of one write: what Linux and macOS take. */
const WRITEV_LIMIT = 1024;

function without(pieces: readonly Uint8Array[], size: number): Uint8Array[] {
  let left = size;
  let at = 0;
  while (at < pieces.length && left >= (pieces[at]?.length ?? 0)) {
    left -= pieces[at]?.length ?? 0;
    at += 1;
  }
  const rest = pieces.slice(at);
  if (left > 0 && rest[0] !== undefined) rest[0] = rest[0].subarray(left);
  return rest;
}

/** Resolves with how many bytes there were. */
async function readInto(
  handle: File,
  bytes: Buffer,
  position: number,
): Promise<number> {
  let at = 0;
  while (at < bytes.length) {
    const left = bytes.length - at;
    const { bytesRead } = await handle.read(bytes, at, left, position + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return at;
}
