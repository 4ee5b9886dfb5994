/**
 * The server inside another's: it opens no port, and answers what comes under
 * one path of an HTTP server that a program has already.
 *
 *     const kernels = await embedServer({ path: "/kernels" });
 *     app.use(kernels.handle);              // Express, before what reads bodies
 *     http.on("upgrade", kernels.upgrade);
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { failure } from "../contract/index.ts";
import { Tidying } from "./host/dead-servers.ts";
import type { RuntimeFiles } from "./host/runtime-files.ts";
import {
  endService,
  type ServiceOptions,
  serviceOf,
  tokenOf,
  withFiles,
} from "./serve.ts";
import { doorsOf } from "./server/doors/doors.ts";
import { PagesDoor } from "./server/doors/docs/door.ts";
import { Entrance } from "./server/entrance.ts";
import { sendFailure } from "./server/respond.ts";
import { answer, WebSockets } from "./server/websockets.ts";
import type { Service } from "./server/answers/service.ts";
import { GOODBYE_MS } from "./server/socket.ts";
import type { Supervisor } from "./supervisor/supervisor.ts";

export interface EmbedOptions extends ServiceOptions {
  /** Where it stands in the other's addresses, such as `/kernels`; `/` for all of them. */
  readonly path: string;
}

/** A server without a port. Dispose of it before the HTTP server is closed: clients hear how their kernels end. */
export function embedServer(options: EmbedOptions): Promise<EmbeddedServer> {
  return withFiles(options, (files) => new EmbeddedServer(options, files));
}

export class EmbeddedServer implements AsyncDisposable {
  /** Without a slash at its end. */
  readonly path: string;
  /** `undefined` when everybody may come in. */
  readonly token: string | undefined;
  readonly supervisor: Supervisor;
  /** Resolves with the reason once a client asked the server to end, or nobody needs it any more. */
  readonly shutdownRequested: Promise<string>;
  readonly #service: Service;
  readonly #entrance: Entrance;
  readonly #sockets = new WebSockets();
  readonly #files: RuntimeFiles;
  readonly #tidying: Tidying;
  /** Answers that are not finished. */
  readonly #open = new Set<ServerResponse>();
  #closed: Promise<void> | undefined;

  constructor(options: EmbedOptions, files: RuntimeFiles) {
    const { service, shutdownRequested } = serviceOf(options, files);
    this.path = options.path.replace(/\/+$/, "");
    this.token = tokenOf(options);
    this.supervisor = service.supervisor;
    this.shutdownRequested = shutdownRequested;
    this.#service = service;
    this.#files = files;
    this.#tidying = new Tidying(files.parents, service.log);
    this.#entrance = new Entrance({
      token: this.token,
      hosts: options.hosts ?? [],
      origins: options.origins ?? [],
      scopesOf: options.scopesOf,
      isLocal: false,
      doors: [...doorsOf(service), new PagesDoor()],
      guard: service.guard,
    });
  }

  /** A request, as Node and Express give it; what is not under our path goes to `next`. */
  readonly handle = (
    req: IncomingMessage,
    res: ServerResponse,
    next?: () => void,
  ): void => {
    const url = this.#ours(req);
    if (url === undefined && next !== undefined) {
      next();
      return;
    }
    if (url === undefined || this.#closed !== undefined) {
      sendFailure(res, failure("not_found", { path: req.url ?? "" }));
      return;
    }
    this.#open.add(res);
    res.once("close", () => this.#open.delete(res));
    req.url = url;
    void this.#entrance.handle(req, res); // which does not reject
  };

  /** For the event `upgrade` of the HTTP server. What is not under our path is left to others. */
  readonly upgrade = (
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
  ): void => {
    const url = this.#ours(req);
    if (url === undefined) return;
    if (this.#closed !== undefined) {
      answer(req, stream, failure("not_found", { path: req.url ?? "" }));
      return;
    }
    req.url = url;
    void this.#sockets.upgrade(this.#entrance, req, stream, head);
  };

  [Symbol.asyncDispose](): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    await endService(this.#service);
    this.#entrance.close();
    this.#sockets.close();
    await this.#answered();
    await this.#tidying[Symbol.asyncDispose]();
    this.#files[Symbol.dispose]();
  }

  /** The HTTP server goes on: what we began to answer is ours to end. */
  async #answered(): Promise<void> {
    const ends = [...this.#open].map(
      (res) => new Promise((resolve) => res.once("close", resolve)),
    );
    const timer = setTimeout(() => {
      for (const res of this.#open) res.destroy();
    }, GOODBYE_MS);
    await Promise.all(ends);
    clearTimeout(timer);
  }

  /** The address as our doors know it; Express has taken from `url` the path where a handler was mounted. */
  #ours(req: IncomingMessage & { originalUrl?: string }): string | undefined {
    const url = req.originalUrl ?? req.url ?? "/";
    const end = /[?#]/.exec(url)?.index ?? url.length;
    const path = url.slice(0, end);
    if (path !== this.path && !path.startsWith(`${this.path}/`)) return;
    const rest = url.slice(this.path.length);
    return rest.startsWith("/") ? rest : `/${rest}`;
  }
}
