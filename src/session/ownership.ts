/**
 * The owner of a session's channels, for protocols that have an owner: one client
 * at a time; a new owner displaces the present one. The owner's position in the
 * journal outlives the owner, so that the next owner gets every message that no
 * owner has acknowledged.
 */
import { notKept, type ReaderPositions } from "./store.ts";

/** The name of the owner among the readers whose positions are kept. */
const OWNER = "owner";

export class Ownership {
  readonly #positions: ReaderPositions;
  #displace: ((reason: string) => Promise<void>) | undefined;
  #departures: Promise<unknown> = Promise.resolve();
  #position: number;
  #leftAt = -Infinity;
  /** The path of the session's own socket, if the present owner connected through it. */
  socketPath: string | undefined;

  /** The owners of an earlier process have acknowledged what is found in `positions`. */
  constructor(positions: ReaderPositions = notKept) {
    this.#positions = positions;
    this.#position = positions.found.get(OWNER) ?? 0;
  }

  /** The last number that an owner has acknowledged. */
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
   * Displaces the present owner, which gets `reason` at once. `displaced` is
   * called when the new owner is displaced in turn; its promise resolves when
   * that owner has disconnected, or soon after.
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
        if (seq <= this.#position) return;
        this.#position = seq;
        this.#positions.keep(OWNER, seq);
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
  /** The last number that an owner has acknowledged, once the owners before have disconnected. */
  readonly position: Promise<number>;
  /** The owner has received everything up to `seq`. */
  acknowledge(seq: number): void;
  /** The owner leaves. Does nothing if it was displaced before. */
  release(): void;
}
