/**
 * The WebSocket of a client: when it opens, how it reconnects, when it gives up.
 *
 * A lost connection is opened again after a backoff that grows and is random, so
 * that it differs between clients. Only a refusal is final. For the calls that
 * were open, see `WebSocketCalls`.
 */
import type { Address } from "./address.ts";
import { type Call, CallError, type Follower } from "./call.ts";
import { WebSocketCalls } from "./calls.ts";
import { ConnectionError, failure } from "./failure.ts";
import { readFrame } from "./frames.ts";
import { probe } from "./probe.ts";
import { type End, type RawSocket, SocketAttempt } from "./socket.ts";

/**
 * `idle`: not needed yet; `connecting`; `open`; `waiting`: the connection was lost
 * or could not be opened, and is tried again after a backoff; `closed`: final.
 */
export type ConnectionState =
  "idle" | "connecting" | "open" | "waiting" | "closed";

/** The connection, as programs see it. */
export interface ConnectionView extends AsyncIterable<ConnectionState> {
  readonly state: ConnectionState;
  /** Why it is not open: the error of the last attempt, or of the end. */
  readonly error: Error | undefined;
  /** Calls `listener` at every change. Returns a function that ends that. */
  subscribe(listener: (state: ConnectionState) => void): () => void;
  /** Connects at once: without the rest of the backoff, or in place of the open connection. */
  reconnect(): void;
}

/** The backoff before a further attempt doubles from the minimum to the maximum. */
const MIN_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 10_000;
/** The interval of checks of the connection and the clock. */
const CHECK_MS = 5_000;
/** If a timer is this late by the wall clock, the machine was asleep, or the clock was set. */
const SLEEP_MS = 10_000;
/** Consecutive connections that may end because of the same fault in the server's data. */
const MAX_SAME_FAULTS = 5;
/** The same for any fault, without a readable message between them: it is then not a kallichore server. */
const MAX_FAULTS = 10;
/** The close code of a server that requires a token. */
const UNAUTHORIZED = 4401;
/** The close code for a frame that is too large (RFC 6455 §7.4.1). */
const TOO_LARGE = 1009;

export class Connection implements ConnectionView {
  readonly #address: Address;
  readonly #listeners = new Set<(state: ConnectionState) => void>();
  #state: ConnectionState = "idle";
  #error: Error | undefined;
  #socket: SocketAttempt | undefined;
  readonly #calls = new WebSocketCalls((frame) => this.#socket?.send(frame));
  /** Attempts since the last received message. */
  #attempts = 0;
  /** Connections that ended because of a fault in the server's data, since its last readable message. */
  #faults = 0;
  /** The fault that ended the last connection; `#sameFaults`: how many it ended in a row. */
  #fault: string | undefined;
  #sameFaults = 0;
  #wasTooLarge = false;
  #wasOpen = false;
  /** Ends the present backoff. */
  #endBackoff: () => void = () => {};
  #watch: ReturnType<typeof setInterval> | undefined;

  constructor(address: Address) {
    this.#address = address;
  }

  get state(): ConnectionState {
    return this.#state;
  }

  get error(): Error | undefined {
    return this.#error;
  }

  /** Whether the last connection ended because a message was too large. Sent again, it would end the next connection. */
  get wasTooLarge(): boolean {
    return this.#wasTooLarge;
  }

  subscribe(listener: (state: ConnectionState) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The present state, then each that follows. A state that passes between two reads is skipped. Ends after `closed`. */
  async *[Symbol.asyncIterator](): AsyncGenerator<ConnectionState, void> {
    let changed = () => {};
    const unsubscribe = this.subscribe(() => changed());
    try {
      for (;;) {
        const state = this.#state;
        yield state;
        if (state === "closed") return;
        while (this.#state === state) {
          await new Promise<void>((resolve) => (changed = resolve));
        }
      }
    } finally {
      unsubscribe();
    }
  }

  reconnect(): void {
    this.#attempts = 0;
    if (this.#state === "waiting") this.#endBackoff();
    else this.#socket?.drop("a new connection was requested");
  }

  /** Begins to connect, unless that has begun. */
  open(): void {
    if (this.#state !== "idle" || this.#socket !== undefined) return;
    this.#watch = this.#startChecks();
    this.#attempt();
  }

  /** Resolves when it is open. Rejects with the error when it is refused or closed, or after `timeout_ms` if that is given. */
  async opened(timeout_ms?: number): Promise<void> {
    this.open();
    let unsubscribe = () => {};
    let timer: ReturnType<typeof setTimeout> | undefined;
    try {
      await new Promise<void>((resolve, reject) => {
        const look = () => {
          if (this.#state === "open") resolve();
          else if (this.#state === "closed") reject(this.closure);
        };
        unsubscribe = this.subscribe(look);
        if (timeout_ms !== undefined) {
          timer = setTimeout(
            () => reject(this.#timeoutError(timeout_ms)),
            timeout_ms,
          );
        }
        look();
      });
    } finally {
      unsubscribe();
      clearTimeout(timer);
    }
  }

  /** Why the connection is closed. */
  get closure(): Error {
    return this.#error ?? new ConnectionError("The client was closed");
  }

  close(): void {
    this.#end(undefined);
  }

  /** Waits until there is a connection. Rejects with a `CallError`. */
  async call(call: Call): Promise<unknown> {
    if (this.#state === "closed") throw CallError.from(this.closure);
    this.open();
    return this.#calls.call(call);
  }

  /** Begins when a connection is open, and continues on the next one. Returns a function that ends that. */
  follow(call: Call, follower: Follower): () => void {
    if (this.#state === "closed") {
      follower.ended(CallError.from(this.closure));
      return () => {};
    }
    this.open();
    return this.#calls.follow(call, follower);
  }

  #attempt(): void {
    this.#socket = new SocketAttempt({
      dial: () => this.#dial(),
      opened: () => {
        this.#wasOpen = true;
        this.#error = undefined;
        this.#calls.opened();
        this.#become("open");
      },
      receive: (data, socket) => this.#onMessage(data, socket),
      closed: (socket, end) => {
        if (this.#socket === socket) this.#lost(end);
      },
    });
  }

  #onMessage(data: unknown, socket: SocketAttempt): void {
    const frame = readFrame(data);
    if ("fault" in frame) {
      const size =
        typeof data === "string" ? ` (${data.length} characters)` : "";
      socket.refuse(
        `the data of the server cannot be read: ${frame.fault}${size}`,
      );
      return;
    }
    this.#attempts = 0;
    if ("sign" in frame) {
      if (frame.sign === "PING") socket.send("PONG");
      return;
    }
    this.#faults = 0;
    if (frame.answer !== undefined) this.#calls.receive(frame.answer);
  }

  async #dial(): Promise<RawSocket> {
    const attempt = this.#attempts;
    this.#attempts += 1;
    if (this.#state === "waiting") await this.#wait(backoffBefore(attempt));
    this.#become("connecting");
    return this.#address.dial();
  }

  #timeoutError(timeout_ms: number): Error {
    const why = this.#error?.message ?? "it does not answer";
    const { name } = this.#address;
    return new ConnectionError(
      `No connection to ${name} within ${timeout_ms / 1000} s: ${why}`,
      { cause: this.#error },
    );
  }

  #wait(backoff_ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, backoff_ms);
      this.#endBackoff = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }

  #lost({ opened, code, why, isFault }: End): void {
    if (this.#state === "closed") return;
    if (code === UNAUTHORIZED) {
      this.#end(failure("unauthorized", {}));
      return;
    }
    this.#wasTooLarge = code === TOO_LARGE;
    const error = new ConnectionError(
      opened
        ? `The connection was lost${why === undefined ? ` (code ${code})` : `: ${why}`}`
        : (why ?? "The connection could not be opened"),
    );
    if (this.#isTooMuch(isFault ? error.message : undefined)) {
      this.#end(
        new ConnectionError(
          `The server at ${this.#address.name} repeatedly sends invalid data: ${why ?? `code ${code}`}`,
        ),
      );
      return;
    }
    this.#error = error;
    this.#become("waiting");
    this.#calls.lost(error);
    if (!opened) void this.#probe(error);
    this.#attempt();
  }

  #isTooMuch(fault: string | undefined): boolean {
    this.#sameFaults = fault === this.#fault ? this.#sameFaults + 1 : 1;
    this.#fault = fault;
    if (fault === undefined) return false;
    this.#faults += 1;
    return this.#sameFaults >= MAX_SAME_FAULTS || this.#faults >= MAX_FAULTS;
  }

  /** A WebSocket that does not open gives no reason, so plain HTTP is tried. */
  async #probe(unopened: Error): Promise<void> {
    const found = await probe(this.#address);
    if (found === undefined) return;
    const { error, what } = found;
    // If the connection was open before, the address is right, and something else answers only for now.
    const isFinal = what === "refused" || (what === "wrong" && !this.#wasOpen);
    if (isFinal) this.#end(error);
    else if (this.#error === unopened) this.#error = error;
  }

  #end(error: Error | undefined): void {
    if (this.#state === "closed") return;
    this.#error = error;
    clearInterval(this.#watch);
    this.#become("closed");
    this.#calls.close(this.closure);
    this.#socket?.drop("closed");
    this.#endBackoff();
  }

  #startChecks(): ReturnType<typeof setInterval> {
    let last = Date.now();
    const timer = setInterval(() => {
      const now = Date.now();
      const late = now - last - CHECK_MS;
      last = now;
      if (late > SLEEP_MS) this.#wake();
      else this.#socket?.check();
    }, CHECK_MS);
    if (typeof timer === "object") timer.unref();
    return timer;
  }

  /** The connection may have died during the sleep. A message must arrive before the next check. */
  #wake(): void {
    if (this.#state === "waiting") this.reconnect();
    else this.#socket?.verify();
  }

  #become(state: ConnectionState): void {
    if (this.#state === state || this.#state === "closed") return;
    this.#state = state;
    for (const listener of this.#listeners) listener(state);
  }
}

/** Milliseconds; 0 before the first attempt. Random between half and all of the backoff, so that clients of one server do not reconnect at the same time. */
function backoffBefore(attempt: number): number {
  if (attempt === 0) return 0;
  const most = Math.min(MIN_BACKOFF_MS * 2 ** (attempt - 1), MAX_BACKOFF_MS);
  return most * (0.5 + Math.random() / 2);
}
