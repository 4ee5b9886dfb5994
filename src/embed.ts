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
import { startCleanup } from "./host/dead-servers.ts";
import type { RuntimeFiles } from "./host/runtime-files.ts";
import {
  endService,
  type ServiceOptions,
  serviceOf,
  tokenOf,
  withFiles,
} from "./serve.ts";
import { doorsOf } from "./server/doors/doors.ts";
import { pagesDoor } from "./server/doors/docs/door.ts";
import { dispatcherOf } from "./server/dispatcher.ts";
import { sendFailure } from "./server/respond.ts";
import { answerUpgrade, webSockets } from "./server/websockets.ts";
import { CLOSE_TIMEOUT_MS } from "./server/socket.ts";
import type { Supervisor } from "./supervisor/supervisor.ts";

export interface EmbedOptions extends ServiceOptions {
  /** Where it stands in the other's addresses, such as `/kernels`; `/` for all of them. */
  readonly path: string;
}

/** A server without a port. Dispose of it before the HTTP server is closed: clients hear how their kernels end. */
export interface EmbeddedServer {
  /** Without a slash at its end. */
  readonly path: string;
  /** `undefined` when everybody may come in. */
  readonly token: string | undefined;
  readonly supervisor: Supervisor;
  /** Resolves with the reason once a client asked the server to end, or nobody needs it any more. */
  readonly shutdownRequested: Promise<string>;
  /** A request, as Node and Express give it; what is not under our path goes to `next`. */
  readonly handle: (
    req: IncomingMessage,
    res: ServerResponse,
    next?: () => void,
  ) => void;
  /** For the event `upgrade` of the HTTP server. What is not under our path is left to others. */
  readonly upgrade: (
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
  ) => void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts a server without a port of its own, under a path of another HTTP server. */
export function embedServer(options: EmbedOptions): Promise<EmbeddedServer> {
  return withFiles(options, (files) => embedded(options, files));
}

function embedded(options: EmbedOptions, files: RuntimeFiles): EmbeddedServer {
  const { service, shutdownRequested } = serviceOf(options, files);
  const { supervisor, guard, log } = service;
  const path = options.path.replace(/\/+$/, "");
  const token = tokenOf(options);
  const stopCleanup = startCleanup(files.parents, log);
  const dispatcher = dispatcherOf({
    token,
    hosts: options.hosts ?? [],
    origins: options.origins ?? [],
    scopesOf: options.scopesOf,
    isLocal: false,
    doors: [...doorsOf(service), pagesDoor],
    guard,
  });
  const sockets = webSockets();
  /** Answers that are not finished. */
  const open = new Set<ServerResponse>();
  let closed: Promise<void> | undefined;
  const close = async () => {
    await endService(service);
    dispatcher.close();
    sockets.close();
    await answered(open);
    await stopCleanup();
    files[Symbol.dispose]();
  };
  return {
    path,
    token,
    supervisor,
    shutdownRequested,

    handle(req, res, next) {
      const url = below(path, req);
      if (url === undefined && next !== undefined) {
        next();
        return;
      }
      if (url === undefined || closed !== undefined) {
        sendFailure(res, failure("not_found", { path: req.url ?? "" }));
        return;
      }
      open.add(res);
      res.once("close", () => open.delete(res));
      req.url = url;
      void dispatcher.handle(req, res); // which does not reject
    },

    upgrade(req, stream, head) {
      const url = below(path, req);
      if (url === undefined) return;
      if (closed !== undefined) {
        answerUpgrade(
          req,
          stream,
          failure("not_found", { path: req.url ?? "" }),
        );
        return;
      }
      req.url = url;
      void sockets.upgrade(dispatcher, req, stream, head);
    },

    [Symbol.asyncDispose]: () => (closed ??= close()),
  };
}

/** The HTTP server goes on: what we began to answer is ours to end. */
async function answered(open: ReadonlySet<ServerResponse>): Promise<void> {
  const ends = [...open].map(
    (res) => new Promise((resolve) => res.once("close", resolve)),
  );
  const timer = setTimeout(() => {
    for (const res of open) res.destroy();
  }, CLOSE_TIMEOUT_MS);
  await Promise.all(ends);
  clearTimeout(timer);
}

/** The address as our doors know it; Express has taken from `url` the path where a handler was mounted. */
function below(
  base: string,
  req: IncomingMessage & { originalUrl?: string },
): string | undefined {
  const url = req.originalUrl ?? req.url ?? "/";
  const end = /[?#]/.exec(url)?.index ?? url.length;
  const path = url.slice(0, end);
  if (path !== base && !path.startsWith(`${base}/`)) return undefined;
  const rest = url.slice(base.length);
  return rest.startsWith("/") ? rest : `/${rest}`;
}
