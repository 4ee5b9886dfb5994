/**
 * Where the server can be reached, and the one way in: TCP, a Unix socket or a
 * Windows pipe; then the gate; then the door that serves the address.
 */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { rm } from "node:fs/promises";
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import type { Duplex } from "node:stream";
import { failure, type SupervisorError } from "../../contract/index.ts";
import type { Guard } from "../log/guard.ts";
import { answers } from "./answers/answers.ts";
import { ChannelsDoor } from "./doors/channels/door.ts";
import { docs, openapi } from "./doors/docs/docs.ts";
import type { Page } from "./doors/docs/page.ts";
import { type Address, bind } from "./bind.ts";
import type { DoorOptions } from "./door.ts";
import { Gate } from "./gate.ts";
import { expectsContinue, LINGER_MS, lingerAfter } from "./request-body.ts";
import { RestDoor, sendFailure } from "./doors/rest/rest.ts";
import { routerOf, toFailure } from "./answers/router.ts";
import type { Service } from "./answers/service.ts";
import { share } from "../time/share.ts";
import { CLIENT, principalOf } from "./principal.ts";
import { SPAN, spanOf } from "./span.ts";
import { GOODBYE_MS } from "./socket.ts";
import { tokenPage } from "./doors/docs/token-page.ts";
import { TrpcDoor } from "./doors/trpc/trpc.ts";

export interface ListenOptions extends Omit<DoorOptions, "transport"> {
  readonly address: Address;
}

/** Bytes. Browsers send what cookies all servers on this machine have set. */
const HEADERS_LIMIT = 64 * 1024;

export class Listener implements AsyncDisposable {
  /** Where it listens: with the port that the system chose. */
  readonly address: Address;
  readonly #http: Server;
  readonly #doors: Doors;
  #closed: Promise<void> | undefined;

  private constructor(http: Server, address: Address, doors: Doors) {
    this.#http = http;
    this.address = address;
    this.#doors = doors;
  }

  /** Resolves once it can answer. Rejects with the system's error when the address is not to be had. */
  static async open(
    service: Service,
    options: ListenOptions,
  ): Promise<Listener> {
    const { address: wanted, ...rest } = options;
    const { transport } = wanted;
    const doors = new Doors(service, { ...rest, transport });
    const maxHeaderSize = HEADERS_LIMIT;
    const http = createServer(
      { maxHeaderSize },
      (req, res) => void doors.handle(req, res),
    );
    http.on("checkContinue", (req, res) => {
      expectsContinue(req);
      void doors.handle(req, res);
    });
    http.on("upgrade", (req, stream: Duplex, head) => {
      if (wantsWebSocket(req)) void doors.upgrade(req, stream, head);
      else
        service.guard.around("upgrade", () =>
          readAgain(http, { req, stream, head }),
        )();
    });
    http.on("clientError", (error: NodeJS.ErrnoException, socket) => {
      service.faults.count("Request that is not HTTP", error.code ?? "");
      refuse(socket, error.code);
    });
    http.requestTimeout = 0; // a start takes as long as its kernel does
    http.keepAliveTimeout = 65_000; // longer than clients keep idle connections, so that none is closed under a request
    const address = await bind(http, wanted);
    return new Listener(http, address, doors);
  }

  /** Nobody new comes in; who is here is told, then cut off. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    const closed = once(this.#http, "close");
    this.#http.close();
    this.#http.closeIdleConnections();
    this.#doors.close();
    const timer = setTimeout(
      () => this.#http.closeAllConnections(),
      GOODBYE_MS,
    );
    await closed;
    clearTimeout(timer);
    if (this.address.transport === "socket") {
      await rm(this.address.path, { force: true });
    }
  }
}

/** The addresses, and which door serves them. */
export class Doors {
  readonly #gate: Gate;
  readonly #rest: RestDoor;
  readonly #trpc: TrpcDoor;
  readonly #channels: ChannelsDoor;
  readonly #guard: Guard;

  constructor(service: Service, options: DoorOptions) {
    const router = routerOf(answers);
    const isLocal = options.transport !== "tcp";
    this.#gate = new Gate({ ...options, isLocal });
    this.#rest = new RestDoor(router, service);
    this.#trpc = new TrpcDoor(router, service);
    this.#channels = new ChannelsDoor(service, options);
    this.#guard = service.guard;
  }

  /** Answers; never rejects. */
  async handle(req: IncomingMessage, res: ServerResponse): Promise<void> {
    lingerAfter(req, res);
    try {
      res.setHeader(SPAN, spanOf(req));
      await share.turn();
      await this.#answer(req, res, urlOf(req));
    } catch (error) {
      this.#fail(res, error);
    }
  }

  async #answer(
    req: IncomingMessage,
    res: ServerResponse,
    url: URL,
  ): Promise<void> {
    const path = url.pathname;
    const { method } = req;
    this.#allowOrigin(req, res);
    if (method === "OPTIONS") {
      this.#gate.admit(req, url, res.hasHeader(ALLOW_ORIGIN));
      const allow = this.#methodsAt(path);
      if (allow.length === 0) throw failure("not_found", { path });
      res.setHeader("allow", [...allow, "OPTIONS"].join(", "));
      res.writeHead(204).end();
      return;
    }
    const reads = method === "GET" || method === "HEAD";
    const isPage = path === "/docs" || (path === "/" && wantsPage(req));
    try {
      this.#gate.admit(req, url, this.#rest.isOpen(method, path));
    } catch (error) {
      const isStranger = toFailure(error).reason === "unauthorized";
      if (!isStranger || !isPage || !reads || !wantsPage(req)) throw error;
      send(res, 401, tokenPage());
      return;
    }
    if (this.#trpc.serves(path)) await this.#trpc.handle(req, res, path);
    else if (reads && this.#channels.serves("GET", path)) {
      await this.#channels.handle(res, path);
    } else if (reads && path === "/openapi.json") send(res, 200, openapi());
    else if (reads && isPage) send(res, 200, docs());
    else await this.#rest.handle(req, res, url, this.#methodsAt(path));
  }

  /** What went wrong before a door answered, or in one. */
  #fail(res: ServerResponse, error: unknown): void {
    const failed = toFailure(error);
    if (failed.reason === "internal") {
      this.#guard.tell(failed.cause, "a request");
    }
    try {
      if (res.headersSent) res.destroy();
      else sendFailure(res, failed);
    } catch (cause) {
      this.#guard.tell(cause, "an answer");
      res.destroy();
    }
  }

  /** What may be asked of an address; nothing where there is nothing. */
  #methodsAt(path: string): readonly string[] {
    if (path === "/*") return ["GET", "HEAD", "PUT", "POST", "DELETE"]; // of the server as a whole
    if (this.#trpc.serves(path)) return ["GET", "HEAD", "POST"];
    const isOurs =
      PAGES.includes(path) || this.#channels.serves("GET", path)
        ? ["GET", "HEAD"]
        : [];
    return [...isOurs, ...this.#rest.methodsAt(path)];
  }

  async upgrade(
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
  ): Promise<void> {
    stream.on("error", () => {}); // a connection that breaks while it is opened is nobody's loss
    try {
      const url = urlOf(req);
      this.#gate.admit(req, url, false);
      if (this.#trpc.serves(url.pathname)) {
        this.#trpc.upgrade(req, stream, head);
      } else if (this.#channels.serves(req.method, url.pathname)) {
        if (this.#channels.pointsElsewhere(req, url.pathname)) {
          const by = principalOf(req);
          const where = await this.#channels.whereabouts(url.pathname, by);
          answer(req, stream, { status: 200, body: where });
        } else this.#channels.upgrade(req, stream, head, url.pathname);
      } else throw failure("not_found", { path: url.pathname });
    } catch (error) {
      const failed = toFailure(error);
      if (failed.reason === "internal") {
        this.#guard.tell(failed.cause, "an upgrade");
      }
      answer(req, stream, failed);
    }
  }

  close(): void {
    this.#trpc.close();
    this.#channels.close();
  }

  #allowOrigin(req: IncomingMessage, res: ServerResponse): void {
    const origin = this.#gate.allowedOrigin(req);
    if (origin === undefined) return;
    res.setHeader(ALLOW_ORIGIN, origin);
    res.setHeader("vary", "Origin");
    res.setHeader("access-control-allow-methods", "GET, PUT, POST, DELETE");
    res.setHeader(
      "access-control-allow-headers",
      `authorization, content-type, last-event-id, ${CLIENT}, ${SPAN}, trpc-accept`,
    );
    res.setHeader("access-control-expose-headers", SPAN);
    res.setHeader("access-control-max-age", "600");
  }
}

const ALLOW_ORIGIN = "access-control-allow-origin";
/** For browsers, and for who reads the document. */
const PAGES = ["/", "/docs", "/openapi.json"];

/** Once the request is read to its end: a connection that closes over an unread body loses the answer, too. */
function send(res: ServerResponse, status: number, page: Page): void {
  res.req.once("end", () => {
    res.writeHead(status, page.headers).end(page.body);
  });
  res.req.resume();
}

/** Whether it is a person's browser that asks. */
function wantsPage({ headers: { accept = "" } }: IncomingMessage): boolean {
  return accept.includes("text/html");
}

function wantsWebSocket({ headers: { upgrade = "" } }: IncomingMessage) {
  return upgrade.toLowerCase() === "websocket";
}

/**
 * Some clients offer HTTP/2 with their first request and take any answer (Java's
 * does). Node knows no way to decline, so the request is read once more, without
 * the offer.
 */
function readAgain(
  http: Server,
  { req, stream, head }: { req: IncomingMessage; stream: Duplex; head: Buffer },
): void {
  const lines = [`${req.method} ${req.url} HTTP/${req.httpVersion}`];
  for (let i = 0; i < req.rawHeaders.length; i += 2) {
    const [name = "", value = ""] = req.rawHeaders.slice(i, i + 2);
    if (/^(?:upgrade|http2-settings)$/i.test(name)) continue;
    const kept = value.replace(/(?:upgrade|http2-settings)\s*(?:,|$)\s*/gi, "");
    lines.push(`${name}: ${/^connection$/i.test(name) ? kept : value}`);
  }
  const again = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  stream.unshift(Buffer.concat([again, head]));
  http.emit("connection", stream);
}

/** An upgrade that is not to be, such as a refused one, is answered as any request would be, in the same words. */
export function answer(
  req: IncomingMessage,
  stream: Duplex,
  { status, body: said }: { readonly status: number; readonly body: unknown },
): void {
  endWith(stream, { status, said, span: spanOf(req) });
}

/** What is no HTTP, or takes too long to be it. */
function refuse(socket: Duplex, code: string | undefined): void {
  if (!socket.writable) return;
  const reasons: Readonly<Record<string, SupervisorError>> = {
    HPE_HEADER_OVERFLOW: failure("headers_too_large", { limit: HEADERS_LIMIT }),
    ERR_HTTP_REQUEST_TIMEOUT: failure("request_timeout", {
      why: "The head of the request did not come in time",
    }),
  };
  const why = "This is not a request of HTTP";
  const failed = reasons[code ?? ""] ?? failure("bad_request", { why });
  const { status, body: said } = failed;
  endWith(socket, { status, said, span: randomUUID() });
}

/** The last answer on a connection; what still comes has a moment to come, so that the answer can be read. */
function endWith(
  stream: Duplex,
  {
    status,
    said,
    span,
  }: { readonly status: number; readonly said: unknown; readonly span: string },
): void {
  const body = JSON.stringify(said);
  stream.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(body)}`,
      `${SPAN}: ${span}`,
      "connection: close",
      "",
      body,
    ].join("\r\n"),
  );
  stream.resume();
  const timer = setTimeout(() => stream.destroy(), LINGER_MS);
  stream.once("close", () => clearTimeout(timer));
}

/** Only path and query are the client's, in either form of a request's target; a path may begin with two slashes. */
function urlOf({ url = "/" }: IncomingMessage): URL {
  const path = /^[a-z][a-z\d+.-]*:\/\/[^/?#]*(.*)$/i.exec(url)?.[1] ?? url;
  return new URL(`http://localhost${path.startsWith("/") ? "" : "/"}${path}`);
}
