/**
 * The server's HTTP and WebSocket handlers without a network: `fetch` for
 * requests, and WebSockets between two ends in memory. The handlers are the
 * server's own; this file replaces only the listener.
 */
import type { WebSocket } from "ws";
import type { AppRouter } from "../contract/index.ts";
import { doorsOf } from "../src/server/doors/doors.ts";
import type { BasePath } from "../src/server/base-path.ts";
import { dispatcherOf } from "../src/server/dispatcher.ts";
import type { Service } from "../src/server/answers/service.ts";
import { exchangeOf } from "./memory-http.ts";
import { type Peer, ServerSocket } from "./memory-socket.ts";

export interface MemoryDoorsOptions {
  readonly router: AppRouter;
  readonly service: Service;
  /** The token that clients must send; `undefined`: no token is needed. */
  readonly token: string | undefined;
  /** The path under which the server answers. */
  readonly basePath: BasePath;
}

export interface MemoryDoors {
  readonly openSockets: number;
  /** Never rejects: a failure is an answer with an error. */
  fetch(request: Request): Promise<Response>;
  /** Opens the server's end of a socket and passes it to `peer`. Rejects with the reason if the upgrade is refused. */
  connect(address: URL, peer: Peer): Promise<void>;
  /** Breaks all sockets, as the end of the server's process does. */
  cut(): void;
  /** Closes all sockets. */
  close(): void;
}

export function memoryDoors({
  router,
  service,
  token,
  basePath,
}: MemoryDoorsOptions): MemoryDoors {
  const sockets = new Set<ServerSocket>();
  const dispatcher = dispatcherOf({
    token,
    basePath,
    hosts: [],
    origins: ["*"], // every caller is code of this program
    isLocal: true,
    doors: doorsOf(service, { router }),
    guard: service.guard,
  });
  const pathOf = (address: string | URL): string => {
    const { pathname, search } = new URL(address);
    return `${pathname}${search}`;
  };
  return {
    get openSockets() {
      return sockets.size;
    },
    fetch(request) {
      const { req, res, response } = exchangeOf(request, pathOf(request.url));
      void dispatcher.handle(req, res); // it never rejects
      return response;
    },
    async connect(address, peer) {
      const { req } = exchangeOf(new Request(httpOf(address)), pathOf(address));
      let refusal: unknown;
      await dispatcher.upgrade({
        req,
        accept: (opened) => {
          const socket = new ServerSocket(peer);
          sockets.add(socket);
          socket.once("close", () => sockets.delete(socket));
          peer.opened(socket);
          opened({ socket: asWs(socket), stream: undefined });
        },
        answer: (status, body) => (refusal = { status, body }),
      });
      if (refusal !== undefined) {
        throw new Error("The upgrade was refused", { cause: refusal });
      }
    },
    cut() {
      for (const socket of sockets) socket.terminate();
    },
    close() {
      dispatcher.close();
      for (const socket of sockets) socket.close(1001, "the server ends");
    },
  };
}

/** The constructor of `Request` does not accept WebSocket URLs. */
function httpOf(address: URL): string {
  return address.href.replace(/^ws/, "http");
}

/** The type that the handlers expect. The cast is here so that the package's types do not depend on `ws`. */
function asWs(socket: ServerSocket): WebSocket {
  return socket as unknown as WebSocket;
}
