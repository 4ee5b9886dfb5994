/** What the readers of one session have acknowledged, in a file that is written at each change. */
import { LogFile } from "./log-file.ts";

/** The readers that are kept: more than a session remembers. */
const READERS_LIMIT = 256;
/** Bytes from which on the file is written anew, with one line for each reader. */
const COMPACT_AT = 64 * 1024;

type Line = readonly [reader: string, position: number];

export class PositionFile {
  readonly #log: LogFile;
  /** The one that changed last is the last. */
  readonly #positions = new Map<string, number>();

  private constructor(log: LogFile, lines: readonly Line[]) {
    this.#log = log;
    for (const line of lines) this.#note(...line);
  }

  /** Opens the file, or makes it. Throws a system error. */
  static open(path: string): PositionFile {
    const { log, records } = LogFile.open(path);
    return new PositionFile(log, records as Line[]);
  }

  get found(): ReadonlyMap<string, number> {
    return new Map(this.#positions);
  }

  /** The system has it when the call returns. Throws a system error. */
  keep(reader: string, position: number): void {
    this.#note(reader, position);
    if (this.#log.bytes < COMPACT_AT) this.#log.append([reader, position]);
    else this.#log.replace([...this.#positions]);
  }

  /** Lowers the positions that are higher. Throws a system error if that cannot be written. */
  limit(highest: number): void {
    for (const [reader, position] of this.#positions) {
      this.#positions.set(reader, Math.min(position, highest));
    }
    this.#log.replace([...this.#positions]);
  }

  close(): void {
    this.#log.close();
  }

  #note(reader: string, position: number): void {
    this.#positions.delete(reader);
    this.#positions.set(reader, position);
    if (this.#positions.size <= READERS_LIMIT) return;
    const [oldest] = this.#positions.keys();
    if (oldest !== undefined) this.#positions.delete(oldest);
  }
}
