/**
 * The disk that all journals of a server share.
 *
 * Past the limit, and where the file system has no room left, the journal that
 * has the most on disk forgets its oldest part. So a flood is paid for by the
 * session that floods, and many sessions together are bounded too.
 */
export interface DiskHolder {
  /** Bytes that it has on disk. */
  readonly bytes: number;
  /** Forgets its oldest part, at once; resolves when the room is there. */
  forgetOldest(why: string): Promise<void>;
}

export class DiskBudget {
  readonly limit: number;
  readonly #holders = new Set<DiskHolder>();
  #used = 0;

  /** `limit` is in bytes; what is being written may go beyond it until it is there. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes that all journals have on disk together. */
  get used(): number {
    return this.#used;
  }

  join(holder: DiskHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: DiskHolder): void {
    if (this.#holders.delete(holder)) this.#used -= holder.bytes;
  }

  /** A holder has more, or less, by so much. */
  count(bytes: number): void {
    this.#used += bytes;
  }

  /** To be called when something was written; resolves when what has to go has gone. */
  async relieve(): Promise<void> {
    const gone: Promise<void>[] = [];
    while (this.#used > this.limit) {
      const largest = this.#largest();
      if (largest === undefined) break;
      const why = `the journals of all sessions have more than ${this.limit} bytes on disk`;
      gone.push(largest.forgetOldest(why));
    }
    await Promise.all(gone);
  }

  /** The file system is full: resolves with how many bytes were given back to it. */
  async makeRoom(): Promise<number> {
    const largest = this.#largest();
    if (largest === undefined) return 0;
    const { bytes } = largest;
    const gone = largest.forgetOldest("the disk is full");
    const freed = bytes - largest.bytes;
    await gone;
    return freed;
  }

  #largest(): DiskHolder | undefined {
    let largest: DiskHolder | undefined;
    for (const holder of this.#holders) {
      if (holder.bytes > (largest?.bytes ?? 0)) largest = holder;
    }
    return largest;
  }
}
