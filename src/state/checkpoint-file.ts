/**
 * The checkpoints of one kept session: files `checkpoint.<seq>`, the two newest.
 * `docs/journal-format.md` describes them byte by byte.
 *
 *     header (64 bytes)  lengths of the blobs  JSON  blobs
 *
 * A file has its name when all of it is written. One that is cut off, damaged or
 * of another version is as good as none: the one before it is read, or the whole
 * journal.
 */
import { readdirSync, rmSync } from "node:fs";
import { open, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { crc32 } from "node:zlib";
import { writeAll } from "../journal/blocks.ts";
import type { Log } from "../log/log.ts";
import type { Checkpoints, SavedCheckpoint } from "../session/store.ts";

const PREFIX = "checkpoint.";
const NAME = /^checkpoint\.(\d{16})$/;
const DRAFT = "checkpoint.new";
/** How many are kept. */
const KEPT = 2;

const MAGIC = Buffer.from("KJCP");
/** Of the header and of the JSON's layout in `src/session/checkpoint.ts`. */
export const CHECKPOINT_VERSION = 1;
const HEADER = 64; // bytes
/** Offsets of the fields in the header, in bytes. Integers are little endian. */
const OFFSETS = {
  version: 4,
  blobs: 8,
  seq: 12,
  json: 20,
  body: 28,
  journal: 36,
  sum: 44,
  headerSum: 60,
} as const;
/** Bytes of the length of a blob. */
const LENGTH = 8;
/** Bytes of one step of a checksum. */
const STEP = 1024 * 1024;

export interface CheckpointFilesOptions {
  /** The session's folder. */
  readonly directory: string;
  readonly journal_id: string;
  readonly log: Log;
}

export class CheckpointFiles implements Checkpoints {
  readonly #options: CheckpointFilesOptions;
  /** The numbers of those that are valid, oldest first. */
  #seqs: number[] = [];
  #hasFailed = false;

  constructor(options: CheckpointFilesOptions) {
    this.#options = options;
  }

  /** Takes over the files of earlier processes. `last`: the newest entry of the journal, which may have been cut off. Throws a system error. */
  static of(options: CheckpointFilesOptions, last: number): CheckpointFiles {
    const files = new CheckpointFiles(options);
    const { directory } = options;
    for (const name of readdirSync(directory)) {
      if (!name.startsWith(PREFIX)) continue;
      const seq = Number(NAME.exec(name)?.[1] ?? Infinity);
      if (seq <= last) files.#seqs.push(seq);
      // Its numbers will be given to other entries.
      else rmSync(join(directory, name), { force: true });
    }
    files.#seqs.sort((a, b) => a - b);
    return files;
  }

  async *found(): AsyncGenerator<SavedCheckpoint, void> {
    for (const seq of this.#seqs.toReversed()) {
      const found = await this.#read(seq);
      if (found !== undefined) yield found;
    }
  }

  async write(checkpoint: SavedCheckpoint): Promise<number | undefined> {
    const { directory, journal_id, log } = this.#options;
    const draft = join(directory, DRAFT);
    try {
      const pieces = await encoded(checkpoint, journal_id);
      await writeFileAt(draft, pieces);
      await rename(draft, this.#pathOf(checkpoint.seq));
      const before = this.#seqs.filter((seq) => seq !== checkpoint.seq);
      this.#seqs = [...before, checkpoint.seq].slice(-KEPT);
      await this.#removeOthers();
      this.#hasFailed = false;
      return pieces.reduce((sum, { length }) => sum + length, 0);
    } catch (error) {
      await rm(draft, { force: true }).catch(() => {}); // it would take the room of the journal
      if (!this.#hasFailed) {
        this.#hasFailed = true;
        log.warn(
          { err: error, directory },
          "A checkpoint cannot be written: the next server reads more of the journal",
        );
      }
      return undefined;
    }
  }

  #pathOf(seq: number): string {
    return join(this.#options.directory, nameOf(seq));
  }

  async #removeOthers(): Promise<void> {
    const { directory } = this.#options;
    const names = new Set(this.#seqs.map(nameOf));
    for (const name of readdirSync(directory)) {
      if (name.startsWith(PREFIX) && !names.has(name)) {
        await rm(join(directory, name), { force: true });
      }
    }
  }

  /** `undefined`, and not one of the files any more, if it cannot be read. */
  async #read(seq: number): Promise<SavedCheckpoint | undefined> {
    const { journal_id, log } = this.#options;
    const path = this.#pathOf(seq);
    const bytes = await readFile(path).catch((error: unknown) => {
      log.warn({ err: error, path }, "A checkpoint cannot be read");
      return undefined;
    });
    const found =
      bytes && (await decoded(bytes, seq, journal_id).catch(() => undefined));
    if (found !== undefined) return found;
    if (bytes !== undefined) {
      log.warn(
        { path },
        "A checkpoint is damaged, or of another version or journal: more of the journal is read",
      );
    }
    this.#seqs = this.#seqs.filter((other) => other !== seq);
    return undefined;
  }
}

function nameOf(seq: number): string {
  return `${PREFIX}${String(seq).padStart(16, "0")}`;
}

async function writeFileAt(
  path: string,
  pieces: readonly Uint8Array[],
): Promise<void> {
  await using file = await open(path, "w", 0o600);
  await writeAll(file, pieces, 0);
}

/** The file in consecutive pieces, without a copy of the blobs. */
async function encoded(
  { seq, json, blobs }: SavedCheckpoint,
  journal_id: string,
): Promise<Uint8Array[]> {
  const text = Buffer.from(JSON.stringify(json));
  const lengths = Buffer.alloc(blobs.length * LENGTH);
  for (const [index, { length }] of blobs.entries()) {
    lengths.writeBigUInt64LE(BigInt(length), index * LENGTH);
  }
  const body = [lengths, text, ...blobs];
  const header = Buffer.alloc(HEADER);
  MAGIC.copy(header);
  header.writeUInt16LE(CHECKPOINT_VERSION, OFFSETS.version);
  header.writeUInt32LE(blobs.length, OFFSETS.blobs);
  header.writeBigUInt64LE(BigInt(seq), OFFSETS.seq);
  header.writeBigUInt64LE(BigInt(text.length), OFFSETS.json);
  const size = body.reduce((sum, { length }) => sum + length, 0);
  header.writeBigUInt64LE(BigInt(size), OFFSETS.body);
  header.write(journal_id, OFFSETS.journal, "hex");
  header.writeUInt32LE(await sumOf(body), OFFSETS.sum);
  header.writeUInt32LE(
    crc32(header.subarray(0, OFFSETS.headerSum)),
    OFFSETS.headerSum,
  );
  return [header, ...body];
}

/** `undefined` if the bytes are not the whole checkpoint with this number of this journal. */
async function decoded(
  file: Buffer,
  seq: number,
  journal_id: string,
): Promise<SavedCheckpoint | undefined> {
  if (file.length < HEADER) return undefined;
  const sum = file.readUInt32LE(OFFSETS.headerSum);
  const body = file.subarray(HEADER);
  const isExpected =
    file.subarray(0, MAGIC.length).equals(MAGIC) &&
    crc32(file.subarray(0, OFFSETS.headerSum)) === sum &&
    file.readUInt16LE(OFFSETS.version) === CHECKPOINT_VERSION &&
    file.readBigUInt64LE(OFFSETS.seq) === BigInt(seq) &&
    file.toString("hex", OFFSETS.journal, OFFSETS.journal + 8) === journal_id &&
    file.readBigUInt64LE(OFFSETS.body) === BigInt(body.length) &&
    (await sumOf([body])) === file.readUInt32LE(OFFSETS.sum);
  if (!isExpected) return undefined;
  const count = file.readUInt32LE(OFFSETS.blobs);
  const textAt = count * LENGTH;
  let at = textAt + Number(file.readBigUInt64LE(OFFSETS.json));
  const json: unknown = JSON.parse(body.toString("utf8", textAt, at));
  const blobs = Array.from({ length: count }, (_, index) => {
    const from = at;
    at += Number(body.readBigUInt64LE(index * LENGTH));
    return body.subarray(from, at);
  });
  return { seq, json, blobs };
}

/** The CRC-32 of the pieces. A long one is made over several turns of the event loop. */
async function sumOf(pieces: readonly Uint8Array[]): Promise<number> {
  let sum = 0;
  let done = 0;
  for (const piece of pieces) {
    for (let at = 0; at < piece.length; at += STEP) {
      const part = piece.subarray(at, at + STEP);
      sum = crc32(part, sum);
      done += part.length;
      if (done < STEP) continue;
      done = 0;
      await nextTurn();
    }
  }
  return sum;
}
