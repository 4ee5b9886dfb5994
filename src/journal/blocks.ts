/** Blocks: chunks of a file. This module writes them to files and reads them back. */
import type { FileHandle } from "node:fs/promises";
import { type ChunkFacts, fromChunk, toChunk } from "./chunk.ts";
import { runAtOnce, requestScheduler } from "../time/request-scheduler.ts";
import { Entries } from "./entries.ts";
import { lengthOf } from "../jupyter/pieces.ts";
import { takeMemory } from "../jupyter/record-memory.ts";

/** Opens a file. A test can replace it. */
export type OpenFile = (
  path: string,
  flags: "wx" | "r" | "r+",
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

/** A block that has no position in a file yet. */
export interface EncodedBlock extends Block {
  readonly entries: Entries;
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
}

/** Encodes entries as a block. */
export async function encodeBlock(
  entries: Entries,
  facts: ChunkFacts,
): Promise<EncodedBlock> {
  const { slab, from, to, first, last, size } = entries;
  const chunk = toChunk(slab.partsOf(from, to), facts);
  const pieces = await inSteps(chunk, size);
  return { first, last, entries, pieces, length: lengthOf(pieces) };
}

/** Runs work on `bytes` bytes. Large work is scheduled fairly with other work, in short steps. */
function inSteps<T>(work: Generator<void, T>, bytes: number): T | Promise<T> {
  return bytes < LARGE ? runAtOnce(work) : requestScheduler.run(work);
}

const LARGE = 4 * 1024 * 1024; // bytes

/** The position of a block on disk. */
export interface BlockLocation {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
  /** Bytes of the file that do not change any more. */
  readonly fileLength: number;
}

/** How long a file stays open after its last read. */
const IDLE_MS = 1_000;

/** A file that blocks are read from. */
interface Opened {
  readonly path: string;
  readonly file: Promise<File>;
  /** The bytes that were read last, of small blocks. */
  window: Window | undefined;
  users: number;
  /** Whether the file is closed when its last user has finished. */
  closesWhenUnused: boolean;
}

interface Window {
  readonly bytes: Buffer;
  readonly offset: number;
}

/** Bytes that are read at once. Of larger blocks, each is read alone. */
const WINDOW = 64 * 1024;

/** Reads blocks. Keeps the file of the last read open, because a late reader reads many blocks of one file. */
export class BlockReader {
  readonly #open: OpenFile;
  #idle: NodeJS.Timeout | undefined;
  #last: Opened | undefined;

  constructor(open: OpenFile) {
    this.#open = open;
  }

  /** The entries lie in a new slab. Rejects if the file does not exist any more or its content is damaged. */
  async read(location: BlockLocation): Promise<Entries> {
    const { path, length } = location;
    const opened = this.#openedAt(path);
    opened.users += 1;
    try {
      const bytes = takeMemory(length).subarray(0, length);
      if ((await readBlock(opened, location, bytes)) < length) {
        throw new RangeError("A block of the journal is cut off");
      }
      const slab = await inSteps(fromChunk(bytes), length);
      return new Entries(slab, 0, slab.count);
    } finally {
      opened.users -= 1;
      if (opened.closesWhenUnused) closeUnused(opened);
      else this.#closeLater();
    }
  }

  /** Closes the file when its last read has ended. */
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
    const opened: Opened = {
      path,
      file,
      window: undefined,
      users: 0,
      closesWhenUnused: false,
    };
    this.#last = opened;
    file.catch(() => {
      if (this.#last === opened) this.#last = undefined;
    });
    return opened;
  }
}

function closeUnused({ users, file }: Opened): void {
  if (users > 0) return;
  file.then((opened) => opened.close()).catch(() => {}); // the read itself has rejected with the reason
}

/** Resolves with the number of bytes read: fewer than the block has at the end of the file. Small blocks after it are read together with it, because the next read will probably be of those. */
async function readBlock(
  opened: Opened,
  { offset, length, fileLength }: BlockLocation,
  into: Buffer,
): Promise<number> {
  const file = await opened.file;
  if (length >= WINDOW) return readInto(file, into, offset);
  if (!covers(opened.window, offset, length)) {
    const bytes = Buffer.allocUnsafe(Math.min(WINDOW, fileLength - offset));
    const read = await readInto(file, bytes, offset);
    opened.window = { bytes: bytes.subarray(0, read), offset };
  }
  const { bytes, offset: from } = opened.window as Window;
  return bytes.copy(into, 0, offset - from, offset - from + length);
}

function covers(
  window: Window | undefined,
  offset: number,
  length: number,
): boolean {
  if (window === undefined) return false;
  const { bytes, offset: from } = window;
  return offset >= from && offset + length <= from + bytes.length;
}

/** Writes all bytes. One `writev` may write only a part of them. */
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
    if (bytesWritten === 0)
      throw new RangeError("The disk accepted no bytes of a write");
    at += bytesWritten;
    rest = without(rest, bytesWritten);
  }
}

/** The most pieces of one `writev` on Linux and macOS. */
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

/** Resolves with the number of bytes read: fewer than requested at the end of the file. */
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
