/**
 * The server's own doors without a network: `fetch` for requests, and
 * WebSockets between two ends in memory. The entrance and the doors are the
 * server's; this is the listener before them.
 */
import type { WebSocket } from "ws";
import type { AppRouter } from "../contract/index.ts";
import { doorsOf } from "../src/server/doors/doors.ts";
import { urlOf } from "../src/server/address.ts";
import { entranceTo } from "../src/server/entrance.ts";
import type { Service } from "../src/server/answers/service.ts";
import { exchangeOf } from "./memory-http.ts";
import { type Peer, ServerSocket } from "./memory-socket.ts";

export interface MemoryDoorsOptions {
  readonly router: AppRouter;
  readonly service: Service;
  /** What clients must hold; `undefined` lets everybody in. */
  readonly token: string | undefined;
  /** The path under which the server stands, without a slash at its end. */
  readonly basePath: string;
}

export interface MemoryDoors {
  readonly openSockets: number;
  /** Never rejects: what goes wrong is the answer. */
  fetch(request: Request): Promise<Response>;
  /** Opens the server's end, which `peer` is told; rejects with why the upgrade is refused. */
  connect(address: URL, peer: Peer): Promise<void>;
  /** Says goodbye to everybody. */
  close(): void;
}

export function memoryDoors({
  router,
  service,
  token,
  basePath,
}: MemoryDoorsOptions): MemoryDoors {
  const sockets = new Set<ServerSocket>();
  const entrance = entranceTo({
    token,
    hosts: [],
    origins: ["*"], // whoever can ask runs in this program
    isLocal: true,
    doors: doorsOf(service, { router }),
    guard: service.guard,
  });
  /** As the server sees it: without the path under which it stands. */
  const below = (address: string | URL): string => {
    const { pathname, search } = new URL(address);
    const isBelow = pathname.startsWith(`${basePath}/`);
    const path = isBelow ? pathname.slice(basePath.length) : pathname;
    return `${path}${search}`;
  };
  return {
    get openSockets() {
      return sockets.size;
    },
    fetch(request) {
      const { req, res, response } = exchangeOf(request, below(request.url));
      void entrance.handle(req, res); // which does not reject
      return response;
    },
    async connect(address, peer) {
      const { req } = exchangeOf(new Request(httpOf(address)), below(address));
      let refusal: unknown;
      await entrance.upgrade({
        req,
        url: urlOf(req),
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
    close() {
      entrance.close();
      for (const socket of sockets) socket.close(1001, "the server ends");
    },
  };
}

/** `Request` takes no address of a WebSocket. */
function httpOf(address: URL): string {
  return address.href.replace(/^ws/, "http");
}

/** As the doors want it. Here, so that the types of the package need none of `ws`. */
function asWs(socket: ServerSocket): WebSocket {
  return socket as unknown as WebSocket;
}
