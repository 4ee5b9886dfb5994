/**
 * Every door of the server without a network: `fetch` for REST and tRPC, and
 * WebSockets for tRPC and the channels. The doors are the server's own; what is
 * missing is the listener before them.
 */
import type { IncomingMessage } from "node:http";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { getWSConnectionHandler, jsonEncoder } from "@trpc/server/adapters/ws";
import type { WebSocket as WsSocket } from "ws";
import { type AppRouter, failure } from "../contract/index.ts";
import { limits } from "../contract/limits.ts";
import { Marks, RawJson, stringify } from "../src/jupyter/raw-json.ts";
import { ownChannels } from "../src/server/doors/channels/channels.ts";
import { codecFor } from "../src/server/doors/channels/kallichore.ts";
import { RestDoor, sendFailure } from "../src/server/doors/rest/rest.ts";
import { admit } from "../src/server/principal.ts";
import { SPAN, spanOf } from "../src/server/span.ts";
import { EVERYTHING, type Principal } from "../src/session/principal.ts";
import {
  type Context,
  logAccident,
  toFailure,
} from "../src/server/answers/router.ts";
import type { Service } from "../src/server/answers/service.ts";
import { callsOf, inputsFor } from "../src/server/doors/trpc/calls.ts";
import { type Exchange, exchangeOf } from "./memory-http.ts";
import { type Peer, ServerSocket } from "./memory-socket.ts";

const CHANNELS = [
  /^\/sessions\/([^/]+)\/channels$/,
  /^\/api\/channels\/([^/]+)$/,
];
const TRPC = "/trpc";

export interface MemoryDoorsOptions {
  readonly router: AppRouter;
  readonly service: Service;
  /** What clients must hold; `undefined` lets everybody in. */
  readonly token: string | undefined;
  /** The path under which the server stands, without a slash at its end. */
  readonly basePath: string;
}

export class MemoryDoors {
  readonly #options: MemoryDoorsOptions;
  readonly #rest: RestDoor;
  readonly #connectTrpc: ReturnType<typeof getWSConnectionHandler>;
  readonly #sockets = new Set<ServerSocket>();

  constructor(options: MemoryDoorsOptions) {
    const { router, service } = options;
    this.#options = options;
    this.#rest = new RestDoor(router, service);
    this.#connectTrpc = getWSConnectionHandler({
      router,
      createContext: ({ req }: { req: IncomingMessage }): Context => ({
        service,
        by: admit(req, EVERYTHING),
        raw: (json) => new RawJson(Buffer.from(json)),
      }),
      maxBatchSize: limits.batch_calls,
      experimental_encoder: {
        encode: stringify,
        decode: (data: string) => callsOf(data) ?? jsonEncoder.decode(data),
      },
      onError: ({ error, path }: { error: Error; path?: string }) =>
        logAccident(service, error, path),
    } as unknown as Parameters<typeof getWSConnectionHandler>[0]); // it wants a `ws` server too, and does not use it
  }

  get openSockets(): number {
    return this.#sockets.size;
  }

  /** Never rejects: what goes wrong is the answer. */
  async fetch(request: Request): Promise<Response> {
    const exchange = exchangeOf(request);
    const response = await this.#answer(request, exchange);
    response.headers.set(SPAN, spanOf(exchange.req));
    return response;
  }

  async #answer(
    request: Request,
    { req, res, response }: Exchange,
  ): Promise<Response> {
    const url = this.#toUrl(request.url);
    const path = url.pathname;
    try {
      if (!this.#rest.isOpen(request.method, path)) {
        this.#admit(request.headers.get("authorization"), url);
      }
      const by = admit(req, EVERYTHING);
      if (path === TRPC || path.startsWith(`${TRPC}/`)) {
        return await this.#trpc(request, url, by);
      }
      if (CHANNELS.some((pattern) => pattern.test(path))) {
        return Response.json(
          { code: "upgrade_required", message: "This address is a WebSocket" },
          { status: 426 },
        );
      }
      void this.#rest.handle(req, res, url); // which does not reject
      return await response;
    } catch (error) {
      sendFailure(res, toFailure(error));
      return response;
    }
  }

  /** Throws where a server would refuse the upgrade. */
  connect(address: URL, peer: Peer): ServerSocket {
    const url = this.#toUrl(address);
    this.#admit(null, url);
    const channels = CHANNELS.map((pattern) => pattern.exec(url.pathname)).find(
      (match) => match !== null,
    );
    if (channels === undefined && url.pathname !== TRPC) {
      throw failure("not_found", { path: url.pathname });
    }
    const { service } = this.#options;
    const socket = new ServerSocket(peer);
    if (channels === undefined) {
      socket.listen(service);
      this.#connectTrpc(asWs(socket), requestTo(url));
    } else {
      const id = decodeURIComponent(channels[1] ?? "");
      ownChannels(service.supervisor.session(id), asWs(socket), undefined, {
        by: admit(requestTo(url), EVERYTHING),
        codec: codecFor(url.search),
        log: service.log,
        faults: service.faults,
        guard: service.guard,
        patience: {
          limit: service.limits.reader_buffer_bytes,
          patience_ms: service.limits.reader_patience_ms,
        },
      });
    }
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    return socket;
  }

  /** Says goodbye to everybody. */
  close(): void {
    for (const socket of this.#sockets) socket.close(1001, "the server ends");
  }

  async #trpc(request: Request, url: URL, by: Principal): Promise<Response> {
    const { router, service, basePath } = this.#options;
    const { method, headers } = request;
    const isPost = method === "POST";
    const inputs = isPost
      ? await inputsFor(
          url.pathname.slice(TRPC.length + 1),
          url.searchParams.get("batch") === "1",
          () => bytesOf(request),
        )
      : undefined;
    const { signal } = request;
    const marks = new Marks();
    const response = await fetchRequestHandler({
      endpoint: `${basePath}${TRPC}`,
      req: isPost
        ? new Request(request.url, { method, headers, signal })
        : request,
      router,
      maxBatchSize: limits.batch_calls,
      createContext: (): Context => ({
        service,
        by,
        inputs,
        raw: (json) => marks.mark(json),
      }),
      onError: ({ error, path }) => logAccident(service, error, path),
    });
    const filled = new TransformStream<Uint8Array, Uint8Array>({
      transform: (chunk, to) => to.enqueue(marks.filledBytes(chunk)),
    });
    return new Response(response.body?.pipeThrough(filled) ?? null, response);
  }

  #admit(authorization: string | null, url: URL): void {
    const { token } = this.#options;
    if (token === undefined) return;
    const said = /^(?:bearer|token) +(.+)$/i.exec(authorization ?? "")?.[1];
    if ((said ?? url.searchParams.get("token")) !== token) {
      throw failure("unauthorized", {});
    }
  }

  /** As the server sees it: without the path under which it stands. */
  #toUrl(address: string | URL): URL {
    const url = new URL(address);
    const { basePath } = this.#options;
    if (url.pathname.startsWith(`${basePath}/`)) {
      url.pathname = url.pathname.slice(basePath.length);
    }
    return url;
  }
}

/** As the doors want it. Here, so that the types of the package need none of `ws`. */
function asWs(socket: ServerSocket): WsSocket {
  return socket as unknown as WsSocket;
}

async function bytesOf(request: Request): Promise<Buffer> {
  const bytes = Buffer.from(await request.arrayBuffer());
  const limit = limits.body_bytes;
  if (bytes.length > limit) throw failure("too_large", { limit });
  return bytes;
}

/** As much of a request as tRPC's adapter looks at. */
function requestTo(url: URL): IncomingMessage {
  return {
    url: `${url.pathname}${url.search}`,
    headers: { host: url.host },
  } as unknown as IncomingMessage;
}
