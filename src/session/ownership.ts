/**
 * Who owns a session's channels, for protocols that have an owner: one client
 * at a time, and a newcomer displaces it. Where the owner had come to in the
 * journal outlives it, so that the next one hears what no owner has heard.
 */
export class Ownership {
  #displace: ((reason: string) => Promise<void>) | undefined;
  #departures: Promise<unknown> = Promise.resolve();
  #position = 0;
  #leftAt = -Infinity;
  /** Where the present owner came in, when that is a socket of the session's own. */
  socketPath: string | undefined;

  /** The last number that an owner has heard for certain. */
  get position(): number {
    return this.#position;
  }

  /** When an owner last left, by the monotonic clock. */
  get leftAt(): number {
    return this.#leftAt;
  }

  get isTaken(): boolean {
    return this.#displace !== undefined;
  }

  /**
   * Displaces the present owner, who is told `reason` at once. `displaced` is
   * called when the newcomer's own turn to go has come; what it returns
   * resolves when it has gone, or soon after.
   */
  take(reason: string, displaced: (reason: string) => Promise<void>): Claim {
    const departure = this.#displace?.(reason);
    this.#departures = Promise.all([this.#departures, departure]);
    this.#displace = displaced;
    this.socketPath = undefined;
    const isMine = () => this.#displace === displaced;
    return {
      position: this.#departures.then(() => this.#position),
      acknowledge: (seq) => {
        if (seq > this.#position) this.#position = seq;
      },
      release: () => {
        if (!isMine()) return;
        this.#displace = undefined;
        this.#leftAt = performance.now();
        this.socketPath = undefined;
      },
    };
  }
}

export interface Claim {
  /** The last number that an owner has heard, once those before have gone. */
  readonly position: Promise<number>;
  /** The owner has heard everything up to `seq`. */
  acknowledge(seq: number): void;
  /** The owner leaves. Nothing happens when it was displaced before. */
  release(): void;
}
