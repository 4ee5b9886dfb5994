/**
 * One attempt at a WebSocket.
 *
 * It wraps the real socket to control three things: dialling begins after a backoff
 * that can be ended early; a silent connection counts as dead; a dead connection
 * ends at once, not when its close handshake has timed out. `closed` is called
 * exactly once and last.
 */

/** The members of a WebSocket that the client uses: of the runtime's own, or of the package `ws`. */
export interface RawSocket {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** Ends the connection without a close handshake; only some implementations have it. */
  terminate?(): void;
}

export interface SocketHooks {
  /** Waits for the backoff, then begins to open. */
  dial(): Promise<RawSocket>;
  opened(socket: SocketAttempt): void;
  receive(data: unknown, socket: SocketAttempt): void;
  /** `opened`: whether it was ever open; `why`: the runtime's error text, if there is one. */
  closed(socket: SocketAttempt, end: End): void;
}

export interface End {
  readonly opened: boolean;
  readonly code: number;
  readonly why: string | undefined;
  /** Whether it ended because of the server's data. */
  readonly isFault: boolean;
}

/** The states of every WebSocket. */
const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

export class SocketAttempt {
  readonly #hooks: SocketHooks;
  #state: 0 | 1 | 3 = CONNECTING;
  #raw: RawSocket | undefined;
  #why: string | undefined;
  #isFault = false;
  /** Checks since the last message. */
  #silentChecks = 0;

  constructor(hooks: SocketHooks) {
    this.#hooks = hooks;
    void this.#open(); // reports its failure as an event
  }

  send(data: string): void {
    if (this.#state === OPEN) this.#raw?.send(data);
  }

  /** Ends it at once, without a close handshake. */
  drop(why: string): void {
    this.#why ??= why;
    if (this.#raw?.terminate !== undefined) this.#raw.terminate();
    else this.#raw?.close();
    this.#end(1006);
  }

  /** Ends it because the server's data is not valid. */
  refuse(why: string): void {
    this.#isFault = true;
    this.drop(why);
  }

  /** Called at intervals. Sends a ping after some silent checks, and ends the connection after some more. */
  check(): void {
    if (this.#raw === undefined) return; // it waits for the backoff
    this.#silentChecks += 1;
    if (this.#silentChecks === PING_AFTER) this.send("PING");
    if (this.#silentChecks >= DEAD_AFTER) this.drop("the server sent nothing");
  }

  /** Sends a ping now. Without an answer, the next check ends the connection. */
  verify(): void {
    if (this.#raw === undefined) return; // it waits for the backoff
    this.#silentChecks = DEAD_AFTER - 1;
    this.send("PING");
  }

  async #open(): Promise<void> {
    try {
      const raw = await this.#hooks.dial();
      if (this.#state !== CONNECTING) {
        raw.onerror = () => {}; // closing an unopened socket emits an error, which nothing here needs
        raw.close();
        return;
      }
      this.#raw = raw;
      const opened = () => {
        if (this.#state !== CONNECTING) return;
        this.#state = OPEN;
        this.#silentChecks = 0;
        this.#hooks.opened(this);
      };
      raw.onmessage = ({ data }: { data: unknown }) => {
        if (this.#state !== OPEN) return;
        this.#silentChecks = 0;
        this.#hooks.receive(data, this);
      };
      raw.onerror = ({ message, error }: RawError) => {
        this.#isFault ||= isFault(error);
        if (typeof message === "string" && message !== "") {
          this.#why ??= message;
        }
        if (this.#state === CONNECTING) {
          setTimeout(() => this.#fail(), CLOSE_WAIT_MS);
        }
      };
      raw.onclose = ({ code }: { code?: number }) => this.#end(code ?? 1006);
      raw.onopen = opened;
      // A mocked socket may be open, or refused, already.
      if (raw.readyState === OPEN) opened();
      if (raw.readyState === CLOSED) this.#end(1006);
    } catch (error) {
      this.#why = error instanceof Error ? error.message : String(error);
      this.#end(1006);
    }
  }

  /** After an error before it was open: Node 22's own WebSocket never emits `close` then. */
  #fail(): void {
    if (this.#state === CONNECTING) this.#end(1006);
  }

  #end(code: number): void {
    if (this.#state === CLOSED) return;
    const opened = this.#state === OPEN;
    this.#state = CLOSED;
    const why = this.#why;
    const isFault = this.#isFault || FAULTS.has(code);
    this.#hooks.closed(this, { opened, code, why, isFault });
  }
}

interface RawError {
  readonly message?: unknown;
  /** Set by the package `ws`, not by browsers. */
  readonly error?: unknown;
}

/** Close codes for frames that break the protocol or are not UTF-8: a new connection would have the same fault. */
const FAULTS: ReadonlySet<number> = new Set([1002, 1003, 1007]);

function isFault(error: unknown): boolean {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return typeof code === "string" && code.startsWith("WS_ERR_");
}

/** How long a socket that had an error before it was open may take to emit `close`. */
const CLOSE_WAIT_MS = 50;

/** Checks without a message before a ping, and before the end. */
const PING_AFTER = 3;
const DEAD_AFTER = 6;
