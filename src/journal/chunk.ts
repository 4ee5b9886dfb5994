/**
 * A chunk: the unit in which records are written to disk.
 * `docs/journal-format.md` describes it byte by byte.
 *
 *     header (64 bytes)  rows  names (JSON)  records
 *
 * The header has a checksum of itself and a checksum of the rest of the chunk. A
 * file that was cut off or damaged can be read up to the first bad chunk.
 */
import { crc32 } from "node:zlib";
import { runAtOnce } from "../time/request-scheduler.ts";
import { Slab, type SlabParts } from "./slab.ts";

export const CHUNK_HEADER = 64; // bytes
const MAGIC = Buffer.from("KJCH");
export const JOURNAL_FORMAT = 1;
/** Offsets of the fields in the header, in bytes. Integers are little endian. */
const OFFSETS = {
  version: 4,
  flags: 6,
  count: 8,
  first: 12,
  rows: 20,
  names: 24,
  records: 28,
  journal: 36,
  sum: 44,
  run: 48,
  event: 52,
  headerSum: 60,
} as const;

/** The last record belongs to a group whose rest is in the next chunk. */
const CONTINUES = 1;

/**
 * How far a kept session has come: everything that the events of its kernel runs
 * caused is in the journal, up to this event of this run. Runs and events count
 * from 1; 0: none.
 */
export interface Mark {
  readonly run: number;
  readonly event: number;
}

export const NO_MARK: Mark = { run: 0, event: 0 };

/** What a chunk says about itself, beside its records. */
export interface ChunkFacts {
  readonly journal_id: string;
  readonly mark: Mark;
  /** Whether the next chunk belongs to the same group of entries: a group is restored whole, or not at all. */
  readonly continues: boolean;
}

/** The fields of a chunk's header. */
export interface ChunkHeader extends ChunkFacts {
  readonly first: number;
  readonly count: number;
  /** Bytes of the chunk, including its header. */
  readonly length: number;
}

/** Encodes a chunk in consecutive pieces, without a copy of the records. Works in short steps, because a checksum of many bytes takes long. */
export function* toChunk(
  { first, count, rows, names, bytes }: SlabParts,
  { journal_id, mark, continues }: ChunkFacts,
): Generator<void, Uint8Array[]> {
  const namesText = Buffer.from(JSON.stringify(names));
  const header = Buffer.alloc(CHUNK_HEADER);
  MAGIC.copy(header);
  header.writeUInt16LE(JOURNAL_FORMAT, OFFSETS.version);
  header.writeUInt16LE(continues ? CONTINUES : 0, OFFSETS.flags);
  header.writeUInt32LE(count, OFFSETS.count);
  header.writeBigUInt64LE(BigInt(first), OFFSETS.first);
  header.writeUInt32LE(rows.length, OFFSETS.rows);
  header.writeUInt32LE(namesText.length, OFFSETS.names);
  header.writeBigUInt64LE(BigInt(bytes.length), OFFSETS.records);
  header.write(journal_id, OFFSETS.journal, "hex");
  header.writeUInt32LE(mark.run, OFFSETS.run);
  header.writeBigUInt64LE(BigInt(mark.event), OFFSETS.event);
  const before = crc32(namesText, crc32(rows));
  header.writeUInt32LE(yield* sumOf(bytes, before), OFFSETS.sum);
  header.writeUInt32LE(
    crc32(header.subarray(0, OFFSETS.headerSum)),
    OFFSETS.headerSum,
  );
  return [header, rows, namesText, bytes];
}

/** Returns `undefined` if the bytes are not a header. Throws a `RangeError` for a newer version. */
export function chunkHeaderIn(header: Buffer): ChunkHeader | undefined {
  if (header.length < CHUNK_HEADER) return undefined;
  if (!header.subarray(0, MAGIC.length).equals(MAGIC)) return undefined;
  const sum = header.readUInt32LE(OFFSETS.headerSum);
  if (crc32(header.subarray(0, OFFSETS.headerSum)) !== sum) return undefined;
  const version = header.readUInt16LE(OFFSETS.version);
  if (version !== JOURNAL_FORMAT) {
    throw new RangeError(
      `The journal has version ${version} of the format; this program reads version ${JOURNAL_FORMAT}`,
    );
  }
  const { rows, names, records } = lengthsIn(header);
  return {
    first: Number(header.readBigUInt64LE(OFFSETS.first)),
    count: header.readUInt32LE(OFFSETS.count),
    journal_id: header.toString("hex", OFFSETS.journal, OFFSETS.journal + 8),
    mark: {
      run: header.readUInt32LE(OFFSETS.run),
      event: Number(header.readBigUInt64LE(OFFSETS.event)),
    },
    continues: (header.readUInt16LE(OFFSETS.flags) & CONTINUES) !== 0,
    length: CHUNK_HEADER + rows + names + records,
  };
}

/** Decodes one chunk. The slab keeps the bytes. Throws a `RangeError` if they are not one complete chunk. */
export function* fromChunk(chunk: Buffer): Generator<void, Slab> {
  const header = chunkHeaderIn(chunk);
  if (header?.length !== chunk.length) {
    throw new RangeError("A chunk of the journal is damaged");
  }
  const sum = yield* sumOf(chunk.subarray(CHUNK_HEADER), 0);
  if (sum !== chunk.readUInt32LE(OFFSETS.sum)) {
    throw new RangeError("A chunk of the journal is damaged");
  }
  const { rows, names } = lengthsIn(chunk);
  const namesAt = CHUNK_HEADER + rows;
  const bytesAt = namesAt + names;
  const text = chunk.toString("utf8", namesAt, bytesAt);
  return Slab.of({
    first: header.first,
    count: header.count,
    rows: chunk.subarray(CHUNK_HEADER, namesAt),
    names: JSON.parse(text) as string[],
    bytes: chunk.subarray(bytesAt),
  });
}

/** The slabs of a file, up to the first chunk that is cut off or damaged. Throws a `RangeError` for another version of the format. */
export function slabsIn(file: Buffer): {
  readonly slabs: readonly Slab[];
  /** Bytes of the file before the first bad chunk. */
  readonly validLength: number;
} {
  const slabs: Slab[] = [];
  let at = 0;
  for (;;) {
    const header = chunkHeaderIn(file.subarray(at));
    if (header === undefined || at + header.length > file.length) break;
    try {
      slabs.push(runAtOnce(fromChunk(file.subarray(at, at + header.length))));
    } catch {
      break;
    }
    at += header.length;
  }
  return { slabs, validLength: at };
}

/** Continues the CRC-32 `before` over the bytes. */
function* sumOf(bytes: Uint8Array, before: number): Generator<void, number> {
  let sum = before;
  for (let at = 0; at < bytes.length; at += STEP) {
    sum = crc32(bytes.subarray(at, at + STEP), sum);
    yield;
  }
  return sum;
}

/** Bytes of one step. */
const STEP = 1024 * 1024;

function lengthsIn(header: Buffer) {
  return {
    rows: header.readUInt32LE(OFFSETS.rows),
    names: header.readUInt32LE(OFFSETS.names),
    records: Number(header.readBigUInt64LE(OFFSETS.records)),
  };
}
