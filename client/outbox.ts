/**
 * Sends messages for kernels, in order and once.
 *
 * A message stays in the queue until the server has accepted it. When the
 * connection is lost, all messages in the queue are sent again, in the same order,
 * with the same ids: the server recognizes those that it has. The queue has a
 * limit: beyond it a message is refused, and no accepted message is lost.
 */
import { SupervisorError } from "../contract/reasons.ts";
import type { Connection, ConnectionState } from "./connection.ts";
import { ConnectionError } from "./failure.ts";

/** The limit of the queue. */
const MAX_MESSAGES = 10_000;
const MAX_BYTES = 256 * 1024 * 1024;
/** Messages that may be sent and unanswered at the same time. */
const WINDOW = 64;

export interface OutboxMessage<T> {
  /** The server recognizes a repeated message by it. */
  readonly id: string;
  /** Characters, as an estimate of bytes. */
  readonly size: number;
  /** Rejects with a `SupervisorError` if the server refuses; with any other error if the server may not have received it. */
  readonly transmit: (signal: AbortSignal) => Promise<T>;
}

interface Waiting {
  readonly id: string;
  readonly size: number;
  /** Resolves with a function that resolves the caller's promise. */
  readonly transmit: (signal: AbortSignal) => Promise<() => void>;
  /** Set while it is sent and unanswered. Aborts when the connection is lost, so that no message overtakes a repeated one. */
  attempt: AbortController | undefined;
  /** Whether it may have reached the server. */
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
      const why = `${this.#queue.length} messages wait: send more when the server has accepted some`;
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

  /** Withdraws a message. False if it may have reached the server. */
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

  /** Refuses the largest message: the server does not report which one was too large. */
  #refuseLargest(sent: readonly Waiting[]): void {
    const [largest] = sent.toSorted((one, other) => other.size - one.size);
    if (largest === undefined) return;
    const why = `${(largest.size / 2 ** 20).toFixed(0)} MiB are more than the server accepts in one message: send several messages, or a file`;
    const error = new SupervisorError("too_large", why);
    this.#settle(largest, () => largest.reject(error));
  }

  #pump(): void {
    if (this.#connection.state !== "open") return;
    // Settled messages leave the queue, so the sent ones are few and at its front.
    for (const waiting of this.#queue.slice(0, WINDOW)) {
      if (waiting.attempt === undefined) void this.#send(waiting);
    }
  }

  async #send(waiting: Waiting): Promise<void> {
    const attempt = new AbortController();
    waiting.attempt = attempt;
    waiting.wasSent = true;
    try {
      const resolveCaller = await waiting.transmit(attempt.signal);
      this.#settle(waiting, resolveCaller);
    } catch (error) {
      if (waiting.attempt !== attempt) return; // lost with its connection; the next one sends it again
      // Without an answer of the server the connection is lost, and `#changed` is called soon.
      const isRefusal = error instanceof SupervisorError;
      if (!isRefusal && this.#connection.state !== "open") return;
      this.#settle(waiting, () => waiting.reject(error));
    }
  }

  #settle(waiting: Waiting, how: () => void): void {
    const index = this.#queue.indexOf(waiting);
    if (index === -1) return;
    this.#queue.splice(index, 1);
    this.#bytes -= waiting.size;
    how();
    this.#pump();
  }
}
