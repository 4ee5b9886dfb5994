/** Blocks: chunks of a file, and how they get into files and out again. */
import type { FileHandle } from "node:fs/promises";
import { fromChunk, toChunk } from "./chunk.ts";
import { atOnce, share } from "../time/share.ts";
import { Entries } from "./entries.ts";
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
export interface Draft extends Block {
  readonly entries: Entries;
  readonly pieces: readonly Uint8Array[];
  readonly length: number;
}

/** Entries as a block of that journal. */
export async function draftOf(
  entries: Entries,
  journal_id: string,
): Promise<Draft> {
  const { slab, from, to, first, last, size } = entries;
  const chunk = toChunk(slab.partsOf(from, to), journal_id);
  const pieces = await worked(chunk, size);
  const length = pieces.reduce((sum, piece) => sum + piece.length, 0);
  return { first, last, entries, pieces, length };
}

/** The result of work at so many bytes: in turns with others where it is long. */
function worked<T>(work: Generator<void, T>, bytes: number): T | Promise<T> {
  return bytes < LARGE ? atOnce(work) : share.all(work);
}

const LARGE = 4 * 1024 * 1024; // bytes

/** Where a block lies. */
export interface BlockLocation {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** The slab has memory of its own. Rejects when the file is gone, or holds something else. */
export async function readBlock(
  { path, offset, length }: BlockLocation,
  open: OpenFile,
): Promise<Entries> {
  const handle = await open(path, "r");
  try {
    const bytes = takeMemory(length).subarray(0, length);
    if ((await readInto(handle, bytes, offset)) < length) {
      throw new RangeError("A block is cut off");
    }
    const slab = await worked(fromChunk(bytes), length);
    return new Entries(slab, 0, slab.count);
  } finally {
    await handle.close();
  }
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
    const some = rest.slice(0, MOST_PIECES);
    const { bytesWritten } = await handle.writev(some, at);
    if (bytesWritten === 0) throw new RangeError("The disk takes nothing");
    at += bytesWritten;
    rest = without(rest, bytesWritten);
  }
}

/** Of one write: what Linux and macOS take. */
const MOST_PIECES = 1024;

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
