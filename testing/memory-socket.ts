/**
 * A WebSocket without a socket: the server's end behaves as `ws` does, the
 * client's end is whoever takes the frames. Frames arrive in order, at once.
 */
import { turn } from "./clock.ts";
import { Emitter } from "./emitter.ts";

/** The client's end. */
export interface Peer {
  /** Before anything is received. */
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
  hear(data: unknown): void {
    if (this.readyState !== OPEN) return;
    const isBinary = typeof data !== "string";
    const frame = isBinary ? Buffer.from(bytesOf(data)) : Buffer.from(data);
    this.emit("message", frame, isBinary);
  }

  /** Frames come one by one, whoever waits. */
  pause(): void {}
  resume(): void {}

  /** The client has read all that came before: it read it when it came. */
  ping(payload: Uint8Array): void {
    queueMicrotask(() => this.emit("pong", payload));
  }

  /** Either end says goodbye; both hear of it. */
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

/** Opens the server's end for an address, or rejects with why it is refused. */
export type Dial = (url: URL, peer: Peer) => Promise<void>;
export type SocketClass = new (
  url: string | URL,
  protocols?: string | string[],
) => TestSocket;

/** As much of the standard's `WebSocket` as every implementation has. */
export interface TestSocket {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
}

/** The `WebSocket` of a server in memory, to be used in place of the global one. */
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
    void turn().then(() => this.#open(dial)); // clients put their listeners on a promise or two later
  }

  send(data: string | ArrayBufferLike | ArrayBufferView): void {
    if (this.readyState === 0) throw new Error("The socket is not open yet");
    const server = this.#server;
    queueMicrotask(() => server?.hear(data));
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
      this.#tell("error", new Event("error"));
      this.#closed(1006, ""); // a browser does not say why, either
    }
  }

  #opened(server: ServerSocket): void {
    this.#server = server;
    if (this.readyState !== 0) {
      server.close(1006); // the client has left meanwhile
      return;
    }
    this.readyState = 1; // before anything that the server says
    this.#tell("open", new Event("open"));
  }

  #receive(data: string): void {
    if (this.readyState !== 1) return;
    this.#tell("message", new MessageEvent("message", { data }));
  }

  #closed(code: number, reason: string): void {
    if (this.readyState === 3) return;
    this.readyState = 3;
    const event = Object.assign(new Event("close"), {
      code,
      reason,
      wasClean: code !== 1006,
    });
    this.#tell("close", event);
  }

  #tell(name: "open" | "message" | "close" | "error", event: Event): void {
    this[`on${name}`]?.(event as never);
    this.dispatchEvent(event);
  }
}

interface CloseLike extends Event {
  readonly code: number;
  readonly reason: string;
  readonly wasClean: boolean;
}
