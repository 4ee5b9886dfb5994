/**
 * Blocks: runs of entries as bytes, and how they get into files and out again.
 */
import type { FileHandle } from "node:fs/promises";
import type { Entry } from "./entry.ts";
import { fromRecords, toRecord } from "./record.ts";

/** Bytes that are read at once, unless a single entry is larger. */
export const BLOCK = 256 * 1024;

/** What is needed of a file. */
export type OpenFile = (
  path: string,
  flags: "wx" | "r",
  mode?: number,
) => Promise<Pick<FileHandle, "read" | "write" | "truncate" | "close">>;
export type File = Awaited<ReturnType<OpenFile>>;

/** A run of entries, without holes. */
export interface Block {
  readonly first: number;
  readonly last: number;
}

/** A block before it has its place. */
export interface Draft extends Block {
  readonly entries: readonly Entry[];
  readonly pieces: readonly Buffer[];
  readonly length: number;
}

/** Entries that follow each other, as blocks. */
export function draftsOf(entries: readonly Entry[]): Draft[] {
  const drafts: Draft[] = [];
  let run: Entry[] = [];
  let pieces: Buffer[] = [];
  let length = 0;
  for (const [index, entry] of entries.entries()) {
    const record = toRecord(entry);
    run.push(entry);
    for (const piece of record) {
      pieces.push(piece);
      length += piece.length;
    }
    if (length < BLOCK && index < entries.length - 1) continue;
    const first = run[0]?.seq ?? entry.seq;
    drafts.push({ first, last: entry.seq, entries: run, pieces, length });
    run = [];
    pieces = [];
    length = 0;
  }
  return drafts;
}

/** Where a block lies. */
export interface BlockLocation {
  readonly path: string;
  readonly offset: number;
  readonly length: number;
}

/** Rejects when the file is gone, or holds something else. */
export async function readBlock(
  { path, offset, length }: BlockLocation,
  open: OpenFile,
): Promise<readonly Entry[]> {
  const handle = await open(path, "r");
  try {
    const bytes = Buffer.allocUnsafeSlow(length); // of its own, so that it goes when its entries do
    let at = 0;
    while (at < length) {
      const { bytesRead } = await handle.read(
        bytes,
        at,
        length - at,
        offset + at,
      );
      if (bytesRead === 0) throw new RangeError("A block is cut off");
      at += bytesRead;
    }
    return fromRecords(bytes);
  } finally {
    await handle.close();
  }
}

/** A disk may take less than it is given at once. */
export async function writeAll(
  handle: File,
  bytes: Buffer,
  position: number,
): Promise<void> {
  let at = 0;
  while (at < bytes.length) {
    const { bytesWritten } = await handle.write(
      bytes,
      at,
      bytes.length - at,
      position + at,
    );
    if (bytesWritten === 0) throw new RangeError("The disk takes nothing");
    at += bytesWritten;
  }
}
