/**
 * The server inside another HTTP server: it opens no port, and answers the
 * requests under one path of an HTTP server that a program already has.
 *
 *     const kernels = await embedServer({ path: "/kernels" });
 *     app.use(kernels.handle);              // Express: before any middleware that reads bodies
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
import { urlOf } from "./server/address.ts";
import { type BasePath, basePathOf } from "./server/base-path.ts";
import { cookiesOf } from "./server/cookies.ts";
import { dispatcherOf } from "./server/dispatcher.ts";
import { sendFailure } from "./server/respond.ts";
import { GOING_AWAY } from "./server/socket.ts";
import { answerUpgrade, webSockets } from "./server/websockets.ts";
import { CLOSE_TIMEOUT_MS } from "./server/socket.ts";
import type { Supervisor } from "./supervisor/supervisor.ts";

export interface EmbedOptions extends ServiceOptions {
  /** The path under which the server answers, such as `/kernels`; `/`: all paths. */
  readonly path: string;
}

/** A server without a port. Dispose of it before the HTTP server is closed: clients then receive how their kernels end. */
export interface EmbeddedServer {
  /** The path, without a slash at its end. */
  readonly path: string;
  /** `undefined`: no token is needed. */
  readonly token: string | undefined;
  readonly supervisor: Supervisor;
  /** Resolves with the reason when a client has requested the end of the server, or when it has been idle for too long. */
  readonly shutdownRequested: Promise<string>;
  /** Handles a request, as Node and Express pass it. A request outside the path goes to `next`. */
  readonly handle: (
    req: IncomingMessage,
    res: ServerResponse,
    next?: () => void,
  ) => void;
  /** For the event `upgrade` of the HTTP server. Ignores requests outside the path. */
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
  const basePath = basePathOf(options.path);
  const { path } = basePath;
  const { service, shutdownRequested } = serviceOf(options, files, path);
  const { supervisor, guard, log, connectionFiles } = service;
  const token = tokenOf(options);
  const stopCleanup = startCleanup(files.parents, log, connectionFiles);
  service.warm.begin();
  const dispatcher = dispatcherOf({
    token,
    hosts: options.hosts ?? [],
    origins: options.origins ?? [],
    cookies: options.cookies === true ? cookiesOf(token, path) : undefined,
    scopesOf: options.scopesOf,
    acceptsToken: options.acceptsToken,
    isLocal: false,
    basePath,
    doors: [...doorsOf(service), pagesDoor(basePath)],
    guard,
  });
  const sockets = webSockets();
  /** Responses that are not finished. */
  const open = new Set<ServerResponse>();
  let closed: Promise<void> | undefined;
  const close = async () => {
    await endService(service);
    dispatcher.close();
    void sockets.close(GOING_AWAY);
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
      const isBelow = restoreUrl(req, basePath);
      if (!isBelow && next !== undefined) {
        next();
        return;
      }
      if (closed !== undefined) {
        sendFailure(res, failure("not_found", { path: req.url ?? "" }));
        return;
      }
      // The client may have left before the program passed its request on.
      if (!res.destroyed) open.add(res);
      res.once("close", () => open.delete(res));
      void dispatcher.handle(req, res); // never rejects
    },

    upgrade(req, stream, head) {
      if (!restoreUrl(req, basePath)) return;
      if (closed !== undefined) {
        answerUpgrade(
          req,
          stream,
          failure("not_found", { path: req.url ?? "" }),
        );
        return;
      }
      void sockets.upgrade(dispatcher, req, stream, head);
    },

    [Symbol.asyncDispose]: () => (closed ??= close()),
  };
}

/** Resolves when all open responses have ended. The HTTP server goes on, so those that are still open after the timeout are destroyed. */
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

/** Whether a request is below the path. Express removes the path of a mounted handler from `url`; such a request gets its own `url` again. */
function restoreUrl(
  req: IncomingMessage & { originalUrl?: string },
  basePath: BasePath,
): boolean {
  const { originalUrl: url = req.url } = req;
  if (basePath.below(urlOf({ url }).pathname) === undefined) return false;
  if (url !== undefined) req.url = url;
  return true;
}
