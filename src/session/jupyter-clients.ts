/**
 * Clients of Jupyter's WebSocket protocols, each by the `session_id` of its
 * address. A client outlives its sockets: one that connects again continues
 * after the last entry that it has acknowledged.
 */
import { within } from "../time/within.ts";
import { notKept, type ReaderPositions } from "./store.ts";
import { Remembered } from "../jupyter/remembered.ts";

/** The largest number of clients without an open socket that are kept. */
const CLIENTS_LIMIT = 64;
/** The largest number of requests of one client whose replies may still arrive. */
const REQUESTS_LIMIT = 10_000;

/** Before the `session_id` in the name of a reader whose position is kept. */
const PREFIX = "jupyter:";

/** An open socket of a client. */
export interface ClientSocket {
  /** Pings the client at once, so that it acknowledges what it has received. */
  ping(): void;
}

export class JupyterClient {
  /** Its open sockets. It may have several, and each receives everything. */
  readonly sockets = new Set<ClientSocket>();
  #acknowledged: number;
  #sent: number;
  /** The last entry that had been sent to it when it closed a socket itself. */
  #closedAfter = 0;
  readonly #requests = new Remembered<string, true>(REQUESTS_LIMIT);
  #waiting: (() => void)[] = [];
  readonly #keep: (position: number) => void;
  /** Whether it was a client of an earlier process, which this one continues. */
  readonly isRestored: boolean;

  /** `keep` is called with each new position. */
  constructor(
    position: number,
    keep: (position: number) => void = () => {},
    isRestored = false,
  ) {
    this.#acknowledged = position;
    this.#sent = position;
    this.#keep = keep;
    this.isRestored = isRestored;
  }

  /** The number of the last entry of the journal that it has acknowledged. */
  get acknowledged(): number {
    return this.#acknowledged;
  }

  acknowledge(seq: number): void {
    if (seq > this.#acknowledged) {
      this.#acknowledged = seq;
      this.#keep(seq);
    }
    this.#changed();
  }

  /** The entry was sent to the client. */
  sent(seq: number): void {
    if (seq > this.#sent) this.#sent = seq;
  }

  /**
   * The client has closed a socket itself, after this entry was sent. It gets again
   * what it has not acknowledged, but only once: JupyterLab connects anew at each
   * restart of the kernel that it is told of, and would do so for ever.
   */
  closedAfter(seq: number): void {
    this.acknowledge(Math.min(seq, this.#closedAfter));
    this.#closedAfter = Math.max(seq, this.#closedAfter);
  }

  left(socket: ClientSocket): void {
    this.sockets.delete(socket);
    this.#changed();
  }

  /** The client that sent a request receives its reply. */
  requested(msg_id: string): void {
    this.#requests.set(msg_id, true);
  }

  hasRequested(msg_id: string): boolean {
    return this.#requests.has(msg_id);
  }

  /** Resolves when the client's sockets have closed, or it has acknowledged all sent entries; after `timeout_ms` at the latest. */
  async settled(timeout_ms: number): Promise<void> {
    if (this.#isSettled) return;
    for (const socket of this.sockets) socket.ping();
    const settled = new Promise<void>((resolve) => this.#waiting.push(resolve));
    await within(settled, timeout_ms);
  }

  get #isSettled(): boolean {
    return this.sockets.size === 0 || this.#acknowledged >= this.#sent;
  }

  #changed(): void {
    if (!this.#isSettled) return;
    for (const resolve of this.#waiting) resolve();
    this.#waiting = [];
  }
}

export class JupyterClients {
  readonly #clients = new Map<string, JupyterClient>();
  readonly #positions: ReaderPositions;

  /** The clients of an earlier process continue at their positions. */
  constructor(positions: ReaderPositions = notKept) {
    this.#positions = positions;
    for (const [reader, position] of positions.found) {
      if (!reader.startsWith(PREFIX)) continue;
      const session_id = reader.slice(PREFIX.length);
      const client = new JupyterClient(position, this.#keeping(reader), true);
      this.#clients.set(session_id, client);
    }
  }

  /** The number of clients with an open socket. */
  get connected(): number {
    return [...this.#clients.values()].filter(({ sockets }) => sockets.size > 0)
      .length;
  }

  /** Whether a client is connected that sent this request. */
  isWaitedFor(msg_id: string): boolean {
    for (const client of this.#clients.values()) {
      if (client.sockets.size > 0 && client.hasRequested(msg_id)) return true;
    }
    return false;
  }

  /** The client of that `session_id`. A new one begins after `position`. */
  get(session_id: string, position: number): JupyterClient {
    const client =
      this.#clients.get(session_id) ?? this.#new(session_id, position);
    this.#clients.delete(session_id); // moves the client to the end, so that it is removed last
    this.#removeOldest();
    this.#clients.set(session_id, client);
    return client;
  }

  #new(session_id: string, position: number): JupyterClient {
    const keep = this.#keeping(PREFIX + session_id);
    keep(position);
    return new JupyterClient(position, keep);
  }

  #keeping(reader: string): (position: number) => void {
    return (position) => this.#positions.keep(reader, position);
  }

  /** Removes clients without a socket, beyond the limit. Connected clients stay. */
  #removeOldest(): void {
    const left = [...this.#clients].filter(
      ([, { sockets }]) => sockets.size === 0,
    );
    const excess = Math.max(0, left.length - CLIENTS_LIMIT);
    for (const [session_id] of left.slice(0, excess)) {
      this.#clients.delete(session_id);
    }
  }
}
