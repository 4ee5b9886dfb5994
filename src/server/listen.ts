/** Listens at an address, and passes requests to the dispatcher. */
import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server } from "node:http";
import type { Duplex } from "node:stream";
import { failure, type SupervisorError } from "../../contract/index.ts";
import type { Service } from "./answers/service.ts";
import { type Address, bind } from "./bind.ts";
import { doorsOf } from "./doors/doors.ts";
import { sessionSocketsIn } from "./doors/channels/session-socket.ts";
import { pagesDoor } from "./doors/docs/door.ts";
import { dispatcherOf } from "./dispatcher.ts";
import type { BasePath } from "./base-path.ts";
import type { GateOptions } from "./gate.ts";
import { markAwaitsContinue } from "./request-body.ts";
import { CLOSE_TIMEOUT_MS, GOING_AWAY, SERVICE_RESTART } from "./socket.ts";
import { sendLastResponse, webSockets } from "./websockets.ts";
import { within } from "../time/within.ts";

export interface ListenOptions extends Omit<GateOptions, "isLocal"> {
  readonly address: Address;
  readonly basePath: BasePath;
  /** The private directory for the sockets of single sessions. */
  readonly socketDirectory: () => string;
  /** Set if another process holds the socket. */
  readonly held?: HeldSocket | undefined;
}

/** A listening socket that another process holds while servers come and go. */
export interface HeldSocket {
  /** What it listens with already, as `net.Server.listen` takes it. `undefined`: this server makes the socket. */
  readonly handle?: unknown;
}

/** How long clients may take to close their connections before another server answers them. */
const LET_GO_MS = 100;

/** Bytes. Browsers send the cookies of all servers on this machine. */
const HEADERS_LIMIT = 64 * 1024;

/** When it is disposed of, it accepts no new connection, and closes the open ones: orderly, then by force. */
export interface Listener extends AsyncDisposable {
  /** The address, with the port that the system chose. */
  readonly address: Address;
  /** The socket itself, for a process that holds it. */
  readonly handle: unknown;
  /** Accepts no new connection, and closes WebSockets so that their clients connect to the next server. At a socket that another process holds, clients wait for the next server. Resolves when the WebSockets have closed, or soon; the other connections are then cut. Dispose of the listener then. */
  letGo(): Promise<void>;
}

/** Resolves when it can answer. Rejects with the system's error if the address is not available. */
export async function listen(
  service: Service,
  {
    address: requested,
    basePath,
    socketDirectory,
    held,
    ...gate
  }: ListenOptions,
): Promise<Listener> {
  const { guard, faults } = service;
  const { transport } = requested;
  const isLocal = transport !== "tcp";
  const sockets = webSockets();
  const openSessionSocket = isLocal
    ? sessionSocketsIn({
        sockets,
        transport,
        directory: socketDirectory,
        guard,
      })
    : undefined;
  const doors = [
    ...doorsOf(service, { openSessionSocket }),
    pagesDoor(basePath),
  ];
  const dispatcher = dispatcherOf({ ...gate, basePath, isLocal, doors, guard });
  const http = createServer(
    { maxHeaderSize: HEADERS_LIMIT },
    (req, res) => void dispatcher.handle(req, res),
  );
  http.on("checkContinue", (req, res) => {
    markAwaitsContinue(req);
    void dispatcher.handle(req, res);
  });
  http.on("upgrade", (req, stream: Duplex, head) => {
    if (wantsWebSocket(req))
      void sockets.upgrade(dispatcher, req, stream, head);
    else
      guard.around("upgrade", () =>
        parseWithoutUpgrade(http, { req, stream, head }),
      )();
  });
  http.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    faults.count("Request that is not HTTP", error.code ?? "");
    refuse(socket, error.code);
  });
  http.requestTimeout = 0; // a start takes as long as its kernel does
  http.keepAliveTimeout = 65_000; // longer than clients keep idle connections, so that none is closed under a request
  const address = await bind(http, requested, held?.handle);
  let ended: Promise<unknown> | undefined;
  /** Whether clients wait at this socket for the next server. */
  let isLeft = false;
  /** Closing a Unix socket removes its path, at once: another server may use it then. Resolves when all connections are closed too. */
  const stop = (): Promise<unknown> => {
    if (ended !== undefined) return ended;
    ended = once(http, "close");
    http.close();
    if (address.transport === "socket" && !isLeft) {
      rmSync(address.path, { force: true });
    }
    return ended;
  };
  let closed: Promise<void> | undefined;
  const close = async () => {
    const stopped = stop();
    http.closeIdleConnections();
    dispatcher.close();
    void sockets.close(GOING_AWAY);
    const timer = setTimeout(
      () => http.closeAllConnections(),
      CLOSE_TIMEOUT_MS,
    );
    await stopped;
    clearTimeout(timer);
  };
  /** The connections were cut when the socket was left. */
  const closeLeft = () => {
    dispatcher.close();
    return Promise.resolve();
  };
  return {
    address,
    handle: (http as { readonly _handle?: unknown })._handle,
    async letGo() {
      isLeft = held !== undefined;
      void stop();
      http.closeIdleConnections();
      await within(sockets.close(SERVICE_RESTART), LET_GO_MS);
      // A request that comes now would be told that there is no such session.
      http.closeAllConnections();
    },
    [Symbol.asyncDispose]: () => (closed ??= isLeft ? closeLeft() : close()),
  };
}

function wantsWebSocket({ headers: { upgrade = "" } }: IncomingMessage) {
  return upgrade.toLowerCase() === "websocket";
}

/**
 * Some clients (such as Java's) offer HTTP/2 with their first request and accept
 * any answer. Node has no way to decline the offer, so the request is parsed once
 * more without it.
 */
function parseWithoutUpgrade(
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
  const rewritten = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  stream.unshift(Buffer.concat([rewritten, head]));
  http.emit("connection", stream);
}

/** Answers a request that is not HTTP, or whose head takes too long. */
function refuse(socket: Duplex, code: string | undefined): void {
  if (!socket.writable) return;
  const reasons: Readonly<Record<string, SupervisorError>> = {
    HPE_HEADER_OVERFLOW: failure("headers_too_large", { limit: HEADERS_LIMIT }),
    ERR_HTTP_REQUEST_TIMEOUT: failure("request_timeout", {
      why: "The head of the request did not arrive in time",
    }),
  };
  const why = "This is not an HTTP request";
  const failed = reasons[code ?? ""] ?? failure("bad_request", { why });
  const { status, body } = failed;
  sendLastResponse(socket, { status, body, span: randomUUID() });
}
