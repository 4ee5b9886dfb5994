/**
 * One attempt at a WebSocket.
 *
 * It stands before the real socket so that three things are ours to say: when
 * dialling begins (after a pause that can be cut short), that silence means
 * death, and that a dead connection is over now, rather than when its farewell
 * has timed out. `closed` is said exactly once, and nothing after it.
 */
import type { RawSocket } from "./where.ts";

export interface SocketHooks {
  /** Waits its turn, then begins to open. */
  dial(): Promise<RawSocket>;
  opened(socket: SocketAttempt): void;
  receive(data: unknown, socket: SocketAttempt): void;
  /** `opened`: whether it ever was; `why`: what the runtime says, if it does. */
  closed(socket: SocketAttempt, end: End): void;
}

export interface End {
  readonly opened: boolean;
  readonly code: number;
  readonly why: string | undefined;
  /** It ended because of what the server sent. */
  readonly isFault: boolean;
}

/** As every WebSocket numbers them. */
const CONNECTING = 0;
const OPEN = 1;
const CLOSED = 3;

export class SocketAttempt {
  readonly #hooks: SocketHooks;
  #state: 0 | 1 | 3 = CONNECTING;
  #raw: RawSocket | undefined;
  #why: string | undefined;
  #isFault = false;
  /** Looks at the line since the last message. */
  #silentChecks = 0;

  constructor(hooks: SocketHooks) {
    this.#hooks = hooks;
    void this.#open(); // reports its failure as an event
  }

  send(data: string): void {
    if (this.#state === OPEN) this.#raw?.send(data);
  }

  /** It is over, whatever the other side thinks. */
  drop(why: string): void {
    this.#why ??= why;
    if (this.#raw?.terminate !== undefined) this.#raw.terminate();
    else this.#raw?.close();
    this.#end(1006);
  }

  /** What the server sent is of no use. */
  refuse(why: string): void {
    this.#isFault = true;
    this.drop(why);
  }

  /** Called at intervals: asks for a sign of life when there was none, and gives up when none comes. */
  check(): void {
    if (this.#raw === undefined) return; // its turn has not come
    this.#silentChecks += 1;
    if (this.#silentChecks === PING_AFTER) this.send("PING");
    if (this.#silentChecks >= DEAD_AFTER) this.drop("it fell silent");
  }

  /** Asks for a sign of life now; without one it is given up at the next look. */
  verify(): void {
    if (this.#raw === undefined) return; // its turn has not come
    this.#silentChecks = DEAD_AFTER - 1;
    this.send("PING");
  }

  async #open(): Promise<void> {
    try {
      const raw = await this.#hooks.dial();
      if (this.#state !== CONNECTING) {
        raw.onerror = () => {}; // closed before it was open: said to have failed, and nobody waits for it
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
      // One that is mocked has no line to wait for: it may be open, or refused, by now.
      if (raw.readyState === OPEN) opened();
      if (raw.readyState === CLOSED) this.#end(1006);
    } catch (error) {
      this.#why = error instanceof Error ? error.message : String(error);
      this.#end(1006);
    }
  }

  /** It had an error before it was open. Node 22's own never says that it is closed then. */
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
  /** The package `ws` says more than browsers do. */
  readonly error?: unknown;
}

/** Frames that break the protocol, are too large, or are no UTF-8: they would come again. */
const FAULTS: ReadonlySet<number> = new Set([1002, 1003, 1007]);

function isFault(error: unknown): boolean {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return typeof code === "string" && code.startsWith("WS_ERR_");
}

/** How long a socket that had an error before it was open may take to say that it is closed. */
const CLOSE_WAIT_MS = 50;

/** Looks without a message before we ask for one, and before we stop waiting. */
const PING_AFTER = 3;
const DEAD_AFTER = 6;
