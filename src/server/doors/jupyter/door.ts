/**
 * Jupyter Server's addresses that are not operations: a kernel's WebSocket, the
 * events, the files of a kernelspec, and the parts of Jupyter Server that this server lacks.
 */
import { failure } from "../../../../contract/index.ts";
import { decodedSegment } from "../../address.ts";
import { kernelOf } from "../../answers/jupyter.ts";
import type { Service } from "../../answers/service.ts";
import type { Door, WebSocketConnection } from "../../door.ts";
import type { ServerEvent } from "../../events.ts";
import { assertPermitted } from "../../permit.ts";
import { principalOf } from "../../principal.ts";
import { readerLimitsOf } from "../../drained.ts";
import { endAfterBody } from "../../request-body.ts";
import {
  CSP_REPORT,
  guardJupyterAnswer,
  jupyterBodyOf,
  refuseWithoutUpgrade,
} from "../../respond.ts";
import { KERNEL_V1 } from "../../subprotocol.ts";
import { jupyterChannels, type Replay } from "./channels.ts";
import { binaryProtocol, defaultProtocol } from "./frames.ts";

const CHANNELS = /^\/api\/kernels\/([^/]+)\/channels$/;
const EVENTS = "/api/events/subscribe";
/** Clients that end an address with a slash are sent to the one without. */
const WITH_SLASH = /^\/api\/(.*[^/]\/)?$/;
const RESOURCE = /^\/kernelspecs\/([^/]+)\/([^/]+)$/;
/** The parts of a Jupyter Server beside kernels. A JupyterLab that uses this server as its gateway has its own. */
const ABSENT = /^\/api\/(contents|terminals|config)(\/|$)/;

export function jupyterDoor(service: Service): Door {
  return {
    methodsAt(path) {
      if (path === CSP_REPORT) return ["POST"];
      if (upgradesAt(path)) return ["GET", "HEAD"];
      if (RESOURCE.test(path) || WITH_SLASH.test(path)) return ["GET", "HEAD"];
      return ABSENT.test(path) ? EVERY : [];
    },

    upgradesAt,

    isOpen: (_, path) => path === CSP_REPORT, // browsers send no token with it

    async handle({ req, res, url: { pathname: path, search } }) {
      guardJupyterAnswer(res, service.basePath);
      if (path === CSP_REPORT) {
        req.resume();
        res.writeHead(204).end();
        return;
      }
      if (WITH_SLASH.test(path)) {
        const location = service.basePath + path.replace(/\/+$/, "") + search;
        res.writeHead(302, { location, "content-length": 0 }).end();
        return;
      }
      if (upgradesAt(path)) refuseWithoutUpgrade(res);
      const [, name, file] = RESOURCE.exec(path) ?? [];
      if (name === undefined || file === undefined) {
        throw failure("not_found", { path });
      }
      const bytes = await service.kernelspecs.resource?.(
        decodedSegment(name),
        decodedSegment(file),
      );
      if (bytes === undefined) throw failure("not_found", { path });
      res.writeHead(200, {
        "content-type": typeOf(file),
        "content-length": bytes.length,
        "cache-control": "max-age=2592000",
        "x-content-type-options": "nosniff",
        "content-security-policy":
          "sandbox; default-src 'none'; style-src 'unsafe-inline'",
      });
      endAfterBody(res, bytes);
    },

    encodeFailure(failed, { url: { pathname: path } }) {
      const [, absent] = ABSENT.exec(path) ?? [];
      const { status } = failed;
      const body = jupyterBodyOf(failed);
      if (absent === undefined || failed.reason !== "not_found") {
        return { status: status === 401 ? 403 : status, body };
      }
      const message = `This server runs kernels only: it has no ${absent}. A Jupyter Server that uses it as its gateway has them.`;
      return { status, body: { ...body, message } };
    },

    /** Throws `kernel_not_found`. */
    upgrade({ req, url, accept }) {
      const by = principalOf(req);
      assertPermitted(by, "observe");
      if (url.pathname === EVENTS) {
        accept((connection) => sendEvents(connection, service));
        return;
      }
      const [, id = ""] = CHANNELS.exec(url.pathname) ?? [];
      const session = kernelOf(decodedSegment(id), service.supervisor);
      const { limits, log, faults, guard, telemetry, idle } = service;
      const session_id =
        url.searchParams.get("session_id") ?? crypto.randomUUID();
      const replay = replayIn(url);
      accept((connection) => {
        idle.noteActivity();
        const isBinary = connection.socket.protocol === KERNEL_V1;
        jupyterChannels(session, connection, {
          by,
          protocol: isBinary ? binaryProtocol : defaultProtocol,
          session_id: session_id.slice(0, LONGEST_SESSION_ID),
          replay,
          log: log.child({ session: session.id }),
          faults,
          guard,
          telemetry,
          readerLimits: readerLimitsOf(limits),
        });
      });
    },
  };
}

function upgradesAt(path: string): boolean {
  return path === EVENTS || CHANNELS.test(path);
}

/** Sends each event until the socket closes. A client that does not read is disconnected. */
function sendEvents(
  { socket }: WebSocketConnection,
  { events, guard, limits }: Service,
): void {
  const send = guard.around("an event", (event: ServerEvent) => {
    if (socket.bufferedAmount > limits.reader_buffer_bytes) {
      socket.terminate();
      return;
    }
    socket.send(JSON.stringify(event));
  });
  const unsubscribe = events.subscribe(send);
  socket.on("error", () => {}); // "close" follows
  socket.on("close", unsubscribe);
}

const EVERY = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
/** Characters. */
const LONGEST_SESSION_ID = 256;

/** Throws `bad_request`. */
function replayIn({ searchParams }: URL): Replay {
  const replay = searchParams.get("replay");
  const since = searchParams.get("since");
  if (since !== null) {
    if (/^\d{1,15}$/.test(since)) return { since: Number(since) };
    throw failure("bad_request", { why: "`since` is not a number" });
  }
  if (replay === null || replay === "none") return "none";
  if (replay === "running" || replay === "all") return replay;
  const why = "`replay` is not `none`, `running` or `all`";
  throw failure("bad_request", { why });
}

const TYPES: Readonly<Record<string, string>> = {
  svg: "image/svg+xml",
  png: "image/png",
  js: "text/javascript",
  css: "text/css",
  txt: "text/plain",
};

function typeOf(file: string): string {
  const extension = /\.(\w+)$/.exec(file)?.[1] ?? "";
  return TYPES[extension.toLowerCase()] ?? "application/octet-stream";
}
