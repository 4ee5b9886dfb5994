/**
 * The server's own doors without a network: `fetch` for requests, and
 * WebSockets between two ends in memory. The entrance and the doors are the
 * server's; this is the listener before them.
 */
import type { WebSocket } from "ws";
import type { AppRouter } from "../contract/index.ts";
import { doorsOf } from "../src/server/doors/doors.ts";
import { urlOf } from "../src/server/address.ts";
import { Entrance } from "../src/server/entrance.ts";
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

export class MemoryDoors {
  readonly #basePath: string;
  readonly #entrance: Entrance;
  readonly #sockets = new Set<ServerSocket>();

  constructor({ router, service, token, basePath }: MemoryDoorsOptions) {
    this.#basePath = basePath;
    this.#entrance = new Entrance({
      token,
      hosts: [],
      origins: ["*"], // whoever can ask runs in this program
      isLocal: true,
      doors: doorsOf(service, { router }),
      guard: service.guard,
    });
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** Never rejects: what goes wrong is the answer. */
  fetch(request: Request): Promise<Response> {
    const { req, res, response } = exchangeOf(
      request,
      this.#below(request.url),
    );
    void this.#entrance.handle(req, res); // which does not reject
    return response;
  }

  /** Opens the server's end, which `peer` is told; rejects with why the upgrade is refused. */
  async connect(address: URL, peer: Peer): Promise<void> {
    const req = exchangeOf(
      new Request(httpOf(address)),
      this.#below(address),
    ).req;
    let refusal: unknown;
    await this.#entrance.upgrade({
      req,
      url: urlOf(req),
      accept: (opened) => {
        const socket = new ServerSocket(peer);
        this.#sockets.add(socket);
        socket.once("close", () => this.#sockets.delete(socket));
        peer.opened(socket);
        opened({ socket: asWs(socket), stream: undefined });
      },
      answer: (status, body) => (refusal = { status, body }),
    });
    if (refusal !== undefined) {
      throw new Error("The upgrade was refused", { cause: refusal });
    }
  }

  /** Says goodbye to everybody. */
  close(): void {
    this.#entrance.close();
    for (const socket of this.#sockets) socket.close(1001, "the server ends");
  }

  /** As the server sees it: without the path under which it stands. */
  #below(address: string | URL): string {
    const { pathname, search } = new URL(address);
    const isBelow = pathname.startsWith(`${this.#basePath}/`);
    const path = isBelow ? pathname.slice(this.#basePath.length) : pathname;
    return `${path}${search}`;
  }
}

/** `Request` takes no address of a WebSocket. */
function httpOf(address: URL): string {
  return address.href.replace(/^ws/, "http");
}

/** As the doors want it. Here, so that the types of the package need none of `ws`. */
function asWs(socket: ServerSocket): WebSocket {
  return socket as unknown as WebSocket;
}
