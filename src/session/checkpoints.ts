/**
 * Writes checkpoints of one session as its journal grows, so that the next
 * server reads only the end of the journal: one after each MiB, or after more
 * if the checkpoint itself is large, and one a second at most.
 */
import type { Journal } from "../journal/journal.ts";
import type { Checkpoints, SavedCheckpoint } from "./store.ts";

export interface CheckpointPace {
  /** Bytes of entries after which the next one is written, */
  readonly bytes: number;
  /** or this many times the bytes of the last one if that is more. */
  readonly factor: number;
  /** The least time between two. */
  readonly interval_ms: number;
}

const PACE: CheckpointPace = {
  bytes: 1024 * 1024,
  factor: 8,
  interval_ms: 1_000,
};
/** It is written after this part of the journal's limit on disk at the latest: it is of use as long as no entry after it is removed. */
const LIMIT_PART = 8;

export interface CheckpointWriterOptions {
  readonly journal: Journal;
  readonly checkpoints: Checkpoints;
  /** The journal's limit on disk. */
  readonly limit: number;
  /** The state up to the newest entry; `undefined` if there can be none now. */
  readonly take: () => SavedCheckpoint | undefined;
  /** Default: as the head of this file says. */
  readonly pace?: CheckpointPace | undefined;
}

export class CheckpointWriter {
  readonly #options: CheckpointWriterOptions;
  readonly #pace: CheckpointPace;
  /** The journal's written bytes at the last checkpoint. */
  #at = 0;
  #step: number;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #lastAt = -Infinity;
  #isClosed = false;

  constructor(options: CheckpointWriterOptions) {
    this.#options = options;
    this.#pace = options.pace ?? PACE;
    this.#step = this.#stepAfter(0);
  }

  /** The session is restored: this many bytes of the journal were read for that. */
  restored(bytes: number): void {
    this.#at = this.#options.journal.writtenBytes - bytes;
    this.written();
  }

  /** The journal has written more. */
  written(): void {
    if (this.#isClosed || this.#timer !== undefined) return;
    const { writtenBytes } = this.#options.journal;
    if (writtenBytes - this.#at < this.#step) return;
    const wait_ms = this.#lastAt + this.#pace.interval_ms - performance.now();
    this.#timer = setTimeout(() => this.#due(), Math.max(0, wait_ms));
    this.#timer.unref();
  }

  /** No more is written. Resolves when the present one is. */
  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#writing;
  }

  #due(): void {
    this.#lastAt = performance.now();
    this.#writing = this.#write().finally(() => {
      this.#writing = undefined;
      this.#timer = undefined;
      this.written();
    });
  }

  async #write(): Promise<void> {
    const { journal, checkpoints, take } = this.#options;
    const canWrite = (): boolean => !this.#isClosed && journal.isDurable;
    if (!canWrite()) return;
    const checkpoint = take();
    if (checkpoint === undefined) return;
    this.#at = journal.writtenBytes;
    // A checkpoint of entries that a crash can lose would be that of another history.
    await journal.flushed();
    if (!canWrite()) return;
    this.#step = this.#stepAfter((await checkpoints.write(checkpoint)) ?? 0);
  }

  #stepAfter(bytes: number): number {
    const { limit } = this.#options;
    const least = Math.max(this.#pace.bytes, bytes * this.#pace.factor);
    return Math.min(least, limit / LIMIT_PART);
  }
}
