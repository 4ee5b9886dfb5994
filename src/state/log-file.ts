/**
 * A file of records that only grows: a JSON text in each line, after its CRC-32
 * in 8 hexadecimal digits. A line that was cut off or damaged ends the file.
 */
import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { crc32 } from "node:zlib";

export class LogFile {
  readonly #path: string;
  #file: number;
  #bytes: number;

  private constructor(path: string, file: number, bytes: number) {
    this.#path = path;
    this.#file = file;
    this.#bytes = bytes;
  }

  /** Opens the file, or makes it, with mode 0600. Throws a system error. */
  static open(path: string): { log: LogFile; records: unknown[] } {
    const file = openSync(path, "a+", 0o600);
    const { records, length } = recordsIn(readFileSync(path));
    ftruncateSync(file, length);
    return { log: new LogFile(path, file, length), records };
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** The system has the record when the call returns. Throws a system error. */
  append(record: unknown): void {
    const line = lineOf(record);
    for (let at = 0; at < line.length;) at += writeSync(this.#file, line, at);
    this.#bytes += line.length;
  }

  /** Replaces the whole content, at once: a reader finds all of the old content or all of the new. */
  replace(records: readonly unknown[]): void {
    const path = `${this.#path}.new`;
    const file = openSync(path, "w", 0o600);
    try {
      const text = Buffer.concat(records.map(lineOf));
      for (let at = 0; at < text.length;) at += writeSync(file, text, at);
      fsyncSync(file);
      this.#bytes = text.length;
    } finally {
      closeSync(file);
    }
    renameSync(path, this.#path);
    closeSync(this.#file);
    this.#file = openSync(this.#path, "a", 0o600);
  }

  close(): void {
    closeSync(this.#file);
  }
}

const NEWLINE = 0x0a;
const SUM_LENGTH = 8;

function lineOf(record: unknown): Buffer {
  const json = JSON.stringify(record);
  return Buffer.from(`${sumOf(json)} ${json}\n`);
}

function sumOf(json: string | Buffer): string {
  return crc32(json).toString(16).padStart(SUM_LENGTH, "0");
}

/** The records up to the first bad line, and the bytes that they take. */
function recordsIn(file: Buffer): { records: unknown[]; length: number } {
  const records: unknown[] = [];
  let length = 0;
  for (;;) {
    const end = file.indexOf(NEWLINE, length);
    if (end === -1) break;
    const json = file.subarray(length + SUM_LENGTH + 1, end);
    const sum = file.toString("latin1", length, length + SUM_LENGTH);
    if (sum !== sumOf(json)) break;
    records.push(JSON.parse(json.toString()));
    length = end + 1;
  }
  return { records, length };
}
