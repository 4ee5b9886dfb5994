/**
 * The disk that all journals of a server share.
 *
 * Past the limit, and where the file system has no room left, the journal that
 * has the most there which everybody has heard forgets its oldest part; where
 * none has such, the one that has the most. So what nobody waits for goes first,
 * a flood is paid for by the session that floods, and many sessions together are
 * bounded too.
 */
export interface DiskHolder {
  /** Bytes that it has on disk. */
  readonly bytes: number;
  /** Those of them, its oldest, that nobody who is here needs any more. */
  readonly acknowledgedBytes: number;
  /** Forgets its oldest part, at once; resolves when the room is there. */
  removeOldest(why: string): Promise<void>;
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
  async enforceLimit(): Promise<void> {
    const gone: Promise<void>[] = [];
    while (this.#used > this.limit) {
      const holder = this.#nextToShrink();
      if (holder === undefined) break;
      const why = `the journals of all sessions have more than ${this.limit} bytes on disk`;
      gone.push(holder.removeOldest(why));
    }
    await Promise.all(gone);
  }

  /** The file system is full: resolves with how many bytes were given back to it. */
  async makeRoom(): Promise<number> {
    const holder = this.#nextToShrink();
    if (holder === undefined) return 0;
    const { bytes } = holder;
    const gone = holder.removeOldest("the disk is full");
    const freed = bytes - holder.bytes;
    await gone;
    return freed;
  }

  #nextToShrink(): DiskHolder | undefined {
    return (
      this.#largest(({ acknowledgedBytes }) => acknowledgedBytes) ??
      this.#largest(({ bytes }) => bytes)
    );
  }

  #largest(measure: (holder: DiskHolder) => number): DiskHolder | undefined {
    let found: DiskHolder | undefined;
    let most = 0;
    for (const holder of this.#holders) {
      const bytes = measure(holder);
      if (bytes > most) [found, most] = [holder, bytes];
    }
    return found;
  }
}
