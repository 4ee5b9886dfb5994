/**
 * A WebSocket in memory. The server's end behaves like a socket of `ws`; the
 * client's end is any object that accepts the frames. Frames arrive in order
 * and without delay.
 */
import { turn } from "./clock.ts";
import { Emitter } from "./emitter.ts";

/** The client's end. */
export interface Peer {
  /** Called before the first frame. */
  opened(server: ServerSocket): void;
  receive(text: string): void;
  closed(code: number, reason: string): void;
}

const OPEN = 1;
const CLOSED = 3;

export class ServerSocket extends Emitter {
  readonly OPEN = OPEN;
  readonly CLOSED = CLOSED;
  readyState: number = OPEN;
  readonly bufferedAmount = 0;
  readonly #peer: Peer;

  constructor(peer: Peer) {
    super();
    this.#peer = peer;
  }

  /** server → client */
  send(text: string): void {
    if (this.readyState === OPEN) this.#peer.receive(text);
  }

  /** client → server */
  receiveFrame(data: unknown): void {
    if (this.readyState !== OPEN) return;
    const isBinary = typeof data !== "string";
    const frame = isBinary ? Buffer.from(bytesOf(data)) : Buffer.from(data);
    this.emit("message", frame, isBinary);
  }

  /** Flow control does nothing: frames arrive one by one. */
  pause(): void {}
  resume(): void {}

  /** Answers at once: the client has read every earlier frame when it arrived. */
  ping(payload: Uint8Array): void {
    queueMicrotask(() => this.emit("pong", payload));
  }

  /** Closes the socket from either end; both ends are notified. */
  close(code = 1005, reason = ""): void {
    if (this.readyState !== OPEN) return;
    this.readyState = CLOSED;
    this.#peer.closed(code, reason);
    this.emit("close", code, Buffer.from(reason));
  }

  terminate(): void {
    this.close(1006);
  }
}

function bytesOf(data: unknown): Uint8Array {
  if (data instanceof ArrayBuffer) return new Uint8Array(data);
  if (ArrayBuffer.isView(data)) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  return new Uint8Array();
}

/** Opens the server's end for a URL, or rejects with the reason of the refusal. */
export type Dial = (url: URL, peer: Peer) => Promise<void>;
export type SocketClass = new (
  url: string | URL,
  protocols?: string | string[],
) => TestSocket;

/** The part of the standard `WebSocket` that every implementation has. */
export interface TestSocket {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** The `WebSocket` class of a server in memory. Use it instead of the global one. */
export function socketClass(dial: Dial): SocketClass {
  return class extends MemorySocket {
    constructor(url: string | URL) {
      super(url, dial);
    }
  };
}

type Handler = ((event: Event) => void) | null;

export class MemorySocket extends EventTarget {
  static readonly CONNECTING = 0;
  static readonly OPEN = 1;
  static readonly CLOSING = 2;
  static readonly CLOSED = 3;
  readonly CONNECTING = 0;
  readonly OPEN = 1;
  readonly CLOSING = 2;
  readonly CLOSED = 3;
  readonly url: string;
  readonly protocol = "";
  readonly extensions = "";
  readonly bufferedAmount = 0;
  binaryType: "blob" | "arraybuffer" = "blob";
  readyState = 0;
  onopen: Handler = null;
  onmessage: ((event: Event & { readonly data: string }) => void) | null = null;
  onclose: ((event: CloseLike) => void) | null = null;
  onerror: Handler = null;
  #server: ServerSocket | undefined;

  constructor(url: string | URL, dial: Dial) {
    super();
    this.url = String(url);
    void turn().then(() => this.#open(dial)); // clients add their listeners one or two promises later
  }

  send(data: string | ArrayBufferLike | ArrayBufferView): void {
    if (this.readyState === 0) throw new Error("The socket is not open yet");
    const server = this.#server;
    queueMicrotask(() => server?.receiveFrame(data));
  }

  close(code = 1005, reason = ""): void {
    if (this.readyState >= 2) return;
    this.readyState = 2;
    const server = this.#server;
    if (server === undefined) return;
    queueMicrotask(() => server.close(code, reason));
  }

  async #open(dial: Dial): Promise<void> {
    if (this.readyState !== 0) {
      this.#closed(1006, "");
      return;
    }
    try {
      await dial(new URL(this.url), {
        opened: (server) => this.#opened(server),
        receive: (text) => this.#receive(text),
        closed: (code, reason) => this.#closed(code, reason),
      });
    } catch {
      this.#dispatch("error", new Event("error"));
      this.#closed(1006, ""); // a browser does not report the reason either
    }
  }

  #opened(server: ServerSocket): void {
    this.#server = server;
    if (this.readyState !== 0) {
      server.close(1006); // the client has closed the socket in the meantime
      return;
    }
    this.readyState = 1; // before the server's first frame
    this.#dispatch("open", new Event("open"));
  }

  #receive(data: string): void {
    if (this.readyState !== 1) return;
    this.#dispatch("message", new MessageEvent("message", { data }));
  }

  #closed(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    const event = Object.assign(new Event("close"), {
      code,
      reason,
      wasClean: code !== 1006,
    });
    this.#dispatch("close", event);
  }

  #dispatch(name: "open" | "message" | "close" | "error", event: Event): void {
    this[`on${name}`]?.(event as never);
    this.dispatchEvent(event);
  }
}

interface CloseLike extends Event {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
}
