/**
 * What clients say to kernels, in order and once.
 *
 * A letter stays in line until the server has taken it. When the connection is
 * lost, all that is in line goes again, in the same order, with the same ids:
 * the server knows those that it has. Bounded: past the limit a letter is
 * refused, and nothing that was accepted is lost.
 */
import { SupervisorError } from "../contract/reasons.ts";
import type { Connection, ConnectionState } from "./connection.ts";
import { ConnectionError } from "./failure.ts";

/** Most that may wait. */
const MAX_MESSAGES = 10_000;
const MAX_BYTES = 256 * 1024 * 1024;
/** Most that are on their way at once. */
const WINDOW = 64;

export interface OutboxMessage<T> {
  /** By which the server knows it when it comes again. */
  readonly id: string;
  /** Characters, as a measure of bytes. */
  readonly size: number;
  /** Rejects with a `SupervisorError` where the server refuses, with anything else where it may not have heard. */
  readonly transmit: (signal: AbortSignal) => Promise<T>;
}

interface Waiting {
  readonly id: string;
  readonly size: number;
  /** Resolves with what tells whoever posted it. */
  readonly transmit: (signal: AbortSignal) => Promise<() => void>;
  /** While it is on its way: aborts when the connection is lost, so that nothing overtakes what goes again. */
  attempt: AbortController | undefined;
  /** It may have reached the server. */
  wasSent: boolean;
  readonly reject: (error: unknown) => void;
}

export class Outbox {
  readonly #connection: Connection;
  readonly #queue: Waiting[] = [];
  #bytes = 0;

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.subscribe((state) => this.#changed(state));
  }

  /**
   * Resolves with the server's answer once it has taken it. Rejects with
   * `too_busy` when too much waits, with the server's refusal, or when the
   * client is closed.
   */
  async post<T>({ id, size, transmit }: OutboxMessage<T>): Promise<T> {
    if (this.#connection.state === "closed") throw this.#connection.closure;
    if (
      this.#queue.length >= MAX_MESSAGES ||
      (this.#queue.length > 0 && this.#bytes + size > MAX_BYTES)
    ) {
      const why = `${this.#queue.length} messages wait for the server already: wait until some have been taken`;
      throw new SupervisorError("too_busy", why);
    }
    this.#connection.open();
    return new Promise<T>((resolve, reject) => {
      this.#queue.push({
        id,
        size,
        transmit: async (signal) => {
          const answer = await transmit(signal);
          return () => resolve(answer);
        },
        attempt: undefined,
        wasSent: false,
        reject,
      });
      this.#bytes += size;
      this.#pump();
    });
  }

  /** Takes a letter back. False where it may have reached the server. */
  withdraw(id: string): boolean {
    const waiting = this.#queue.find((one) => one.id === id);
    if (waiting === undefined || waiting.wasSent) return false;
    const why = "It was withdrawn before it was sent";
    this.#settle(waiting, () => waiting.reject(new ConnectionError(why)));
    return true;
  }

  #changed(state: ConnectionState): void {
    if (state === "open") {
      this.#pump();
      return;
    }
    const sent = this.#queue.filter(({ attempt }) => attempt !== undefined);
    for (const waiting of sent) {
      waiting.attempt?.abort();
      waiting.attempt = undefined;
    }
    if (this.#connection.wasTooLarge) this.#refuseLargest(sent);
    if (state !== "closed") return;
    for (const waiting of [...this.#queue]) {
      this.#settle(waiting, () => waiting.reject(this.#connection.closure));
    }
  }

  /** The server did not say which it was that it cannot take. */
  #refuseLargest(sent: readonly Waiting[]): void {
    const [largest] = sent.toSorted((one, other) => other.size - one.size);
    if (largest === undefined) return;
    const why = `${(largest.size / 2 ** 20).toFixed(0)} MiB are more than the server takes in one message: send them in parts, or as a file`;
    const error = new SupervisorError("too_large", why);
    this.#settle(largest, () => largest.reject(error));
  }

  #pump(): void {
    if (this.#connection.state !== "open") return;
    // Settled letters leave the line, so those on their way are few and at its front.
    for (const waiting of this.#queue.slice(0, WINDOW)) {
      if (waiting.attempt === undefined) void this.#send(waiting);
    }
  }

  async #send(waiting: Waiting): Promise<void> {
    const trip = new AbortController();
    waiting.attempt = trip;
    waiting.wasSent = true;
    try {
      const tell = await waiting.transmit(trip.signal);
      this.#settle(waiting, tell);
    } catch (error) {
      if (waiting.attempt !== trip) return; // lost with its connection, and in line for the next one
      // Where the server said nothing, the connection has gone, and we are about to be told.
      const isSaid = error instanceof SupervisorError;
      if (!isSaid && this.#connection.state !== "open") return;
      this.#settle(waiting, () => waiting.reject(error));
    }
  }

  #settle(waiting: Waiting, how: () => void): void {
    const at = this.#queue.indexOf(waiting);
    if (at === -1) return;
    this.#queue.splice(at, 1);
    this.#bytes -= waiting.size;
    how();
    this.#pump();
  }
}
