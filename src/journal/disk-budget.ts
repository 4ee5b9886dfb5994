/**
 * The disk that all journals of a server share.
 *
 * When the limit is exceeded or the file system is full, the journal with the
 * most bytes that all its readers have acknowledged removes its oldest part. If
 * no journal has such bytes, the largest journal does. So entries that no reader
 * waits for go first, a session that floods loses its own entries, and the sum
 * over many sessions is bounded.
 */
export interface DiskHolder {
  /** Its bytes on disk. */
  readonly bytes: number;
  /** The bytes of its oldest part that all current readers have acknowledged. */
  readonly acknowledgedBytes: number;
  /** Removes its oldest part from the count at once. Resolves when the file is removed. */
  removeOldest(why: string): Promise<void>;
}

export class DiskBudget {
  readonly limit: number;
  readonly #holders = new Set<DiskHolder>();
  #used = 0;

  /** `limit` is in bytes. A write that is under way may exceed it until it is complete. */
  constructor(limit: number) {
    this.limit = limit;
  }

  /** Bytes of all journals on disk. */
  get used(): number {
    return this.#used;
  }

  /** The holder calls `leave` once. */
  join(holder: DiskHolder): void {
    this.#holders.add(holder);
  }

  leave(holder: DiskHolder): void {
    this.#holders.delete(holder);
    this.#used -= holder.bytes;
  }

  /** Adds a holder's change of bytes; negative if it has fewer. */
  count(bytes: number): void {
    this.#used += bytes;
  }

  /** The holder calls it after each write. Resolves when the surplus is removed. */
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

  /** A holder calls it when the file system is full. Resolves with the number of bytes that were freed. */
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
