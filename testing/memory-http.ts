/**
 * Adapts the web's `Request` and `Response` to a handler that expects Node's:
 * headers and chunks pass through, and no socket is opened.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { Emitter } from "./emitter.ts";

export interface Exchange {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  /** Resolves when the handler has written the status. */
  readonly response: Promise<Response>;
}

/** `path` is the path of the request relative to the server's own URL. */
export function exchangeOf(request: Request, path: string): Exchange {
  const req = Object.assign(new Emitter(), {
    method: request.method,
    url: path,
    headers: Object.fromEntries(request.headers),
    complete: true, // the whole body is available from the start
    resume() {},
    [Symbol.asyncIterator]: () => chunksOf(request),
  }) as unknown as IncomingMessage;
  const res = new MemoryResponse(req, request.signal);
  return {
    req,
    res: res as unknown as ServerResponse,
    response: res.response,
  };
}

/** The most bytes that may wait for the reader of one answer. */
const BUFFER = 64 * 1024; // bytes

class MemoryResponse extends Emitter {
  readonly req: IncomingMessage;
  readonly response: Promise<Response>;
  headersSent = false;
  destroyed = false;
  /** The status if the handler writes before it calls `writeHead`. */
  statusCode = 200;
  readonly #headers = new Headers();
  #answer: (response: Response) => void = () => {};
  #body: ReadableStreamDefaultController<Uint8Array> | undefined;
  #isEnded = false;

  constructor(req: IncomingMessage, signal: AbortSignal) {
    super();
    this.req = req;
    this.response = new Promise((resolve) => (this.#answer = resolve));
    signal.addEventListener("abort", () => this.#close(), { once: true });
  }

  get writableNeedDrain(): boolean {
    return (this.#body?.desiredSize ?? 1) <= 0;
  }

  setHeader(name: string, value: string | number): void {
    this.#headers.set(name, String(value));
  }

  hasHeader(name: string): boolean {
    return this.#headers.has(name);
  }

  writeHead(
    status: number,
    headers: Readonly<Record<string, string | number>> = {},
  ): this {
    for (const [name, value] of Object.entries(headers)) {
      this.setHeader(name, value);
    }
    this.headersSent = true;
    const body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#body = controller;
        },
        pull: () => this.emit("drain"),
        cancel: () => this.#close(),
      },
      { highWaterMark: BUFFER, size: (chunk) => chunk.length },
    );
    const isEmpty =
      status === 204 || status === 304 || this.req.method === "HEAD";
    this.#answer(
      new Response(isEmpty ? null : body, { status, headers: this.#headers }),
    );
    return this;
  }

  get writableEnded(): boolean {
    return this.#isEnded;
  }

  write(chunk: string | Uint8Array): boolean {
    if (this.destroyed || this.#isEnded) return false;
    if (!this.headersSent) this.writeHead(this.statusCode);
    this.#body?.enqueue(
      typeof chunk === "string"
        ? new TextEncoder().encode(chunk)
        : Uint8Array.from(chunk), // a copy: the chunk may be a view of the journal's memory
    );
    return !this.writableNeedDrain;
  }

  end(chunk?: string | Uint8Array): this {
    if (this.#isEnded) return this;
    if (chunk !== undefined) this.write(chunk);
    if (!this.headersSent) this.writeHead(this.statusCode);
    this.#isEnded = true;
    if (!this.destroyed) this.#body?.close();
    this.#close();
    return this;
  }

  destroy(): this {
    if (!this.#isEnded) this.#body?.error(new Error("The connection broke"));
    this.#isEnded = true;
    this.#close();
    return this;
  }

  cork(): void {}
  uncork(): void {}

  #close(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit("close");
  }
}

async function* chunksOf(request: Request): AsyncGenerator<Uint8Array> {
  const bytes = Buffer.from(await request.arrayBuffer());
  if (bytes.length > 0) yield bytes;
}
