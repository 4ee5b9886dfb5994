/**
 * The addresses of a session's channels. A client can upgrade to a WebSocket. If
 * the server listens on a Unix socket, Kallichore's address answers with the path
 * of the session's own socket instead. On that socket every path is this session.
 * It exists as long as the session, under a unique name.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";
import type { WebSocket } from "ws";
import { failure } from "../../../../contract/index.ts";
import { EVERYTHING, type Principal } from "../../../session/principal.ts";
import type { Session } from "../../../session/session.ts";
import type { Service } from "../../answers/service.ts";
import type { Door, WebSocketConnection } from "../../door.ts";
import { decodedSegment } from "../../address.ts";
import { assertPermitted, assertUnlimited } from "../../permit.ts";
import { principalOf } from "../../principal.ts";
import { readerLimitsOf } from "../../drained.ts";
import { refuseWithoutUpgrade, send } from "../../respond.ts";
import { spanOf } from "../../span.ts";
import { serveChannels } from "./channels.ts";
import { codecFor } from "./kallichore.ts";

/** A session's own socket. */
export interface SessionSocket {
  readonly path: string;
  close(): void;
}

/** Called with each connection, and with the head of its handshake if there was one. */
export type OnConnection = (
  connection: WebSocketConnection,
  req?: IncomingMessage,
) => void;
export type OpenSessionSocket = (
  onConnection: OnConnection,
) => Promise<SessionSocket>;

const KALLICHORE_PATH = /^\/sessions\/([^/]+)\/channels$/;
const PATHS = [KALLICHORE_PATH, /^\/api\/channels\/([^/]+)$/];
/** Base64 of 16 bytes (RFC 6455 §4.1). */
const KEY = /^[+/\dA-Za-z]{22}==$/;
/** The key of the example in RFC 6455 §1.3. */
const EXAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ==";
/** How long a client with the example's key may take to read the server's answer. */
const FIRST_FRAME_DELAY_MS = 50;

/** `openSessionSocket`: given if the server listens on a socket; each session then has its own. */
export function channelsDoor(
  service: Service,
  openSessionSocket?: OpenSessionSocket,
): Door {
  /** By session. */
  const sessionSockets = new Map<Session, Promise<SessionSocket>>();

  /** The path of the session's own socket, which is opened when it is first requested. */
  const sessionSocketPath = async (
    session: Session,
    open: OpenSessionSocket,
  ): Promise<string> => {
    let socket = sessionSockets.get(session);
    if (socket === undefined) {
      socket = openFor(session, open);
      sessionSockets.set(session, socket);
      socket.catch(() => sessionSockets.delete(session)); // the next request tries again
    }
    return (await socket).path;
  };

  const openFor = async (
    session: Session,
    open: OpenSessionSocket,
  ): Promise<SessionSocket> => {
    const socket: SessionSocket = await open((connection, req) => {
      const by: Principal = {
        kind: "local",
        scopes: EVERYTHING, // the permissions of the socket's file control the access
        client: req === undefined ? null : principalOf(req).client,
        span_id: req === undefined ? randomUUID() : spanOf(req),
      };
      const socketPath = socket.path;
      attachClient(service, session, { ...connection, req, by, socketPath });
    });
    const { id: session_id, ended } = session;
    const end = () => {
      socket.close();
      sessionSockets.delete(session);
    };
    ended.addEventListener("abort", end);
    if (ended.aborted) {
      end();
      throw failure("session_not_found", { session_id });
    }
    return socket;
  };

  return {
    methodsAt: (path) => (upgradesAt(path) ? ["GET", "HEAD"] : []),

    upgradesAt,

    /** A request without an upgrade: answers where to connect. */
    async handle({ req, res, url: { pathname: path } }) {
      const session = sessionAt(service, path);
      if (openSessionSocket !== undefined) {
        assertUnlimited(principalOf(req)); // the session's socket does not check its clients
        send(res, {
          status: 200,
          body: await sessionSocketPath(session, openSessionSocket),
        });
        return;
      }
      refuseWithoutUpgrade(res);
    },

    /** Throws `session_not_found`. A client that is refused does not displace the owner. */
    async upgrade({ req, url, accept, answer }) {
      const session = sessionAt(service, url.pathname);
      const by = principalOf(req);
      if (
        openSessionSocket !== undefined &&
        asksForSocketPath(req, url.pathname)
      ) {
        assertUnlimited(by);
        answer(200, await sessionSocketPath(session, openSessionSocket));
        return;
      }
      assertPermitted(by, "execute"); // the new owner displaces the one before it
      accept((connection) =>
        attachClient(service, session, { ...connection, req, by }),
      );
    },

    close() {
      for (const socket of sessionSockets.values()) {
        socket.then((opened) => opened.close()).catch(() => {}); // a socket that did not open need not be closed
      }
      sessionSockets.clear();
    },
  };
}

function upgradesAt(path: string): boolean {
  return PATHS.some((pattern) => pattern.test(path));
}

function sessionAt({ supervisor }: Service, path: string): Session {
  const [, segment = ""] =
    PATHS.map((pattern) => pattern.exec(path)).find(
      (match) => match !== null,
    ) ?? [];
  return supervisor.session(decodedSegment(segment));
}

interface NewConnection extends WebSocketConnection {
  /** The head of the handshake; `undefined` if there was none. */
  readonly req: IncomingMessage | undefined;
  readonly by: Principal;
  readonly socketPath?: string;
}

function attachClient(
  { idle, limits, log, faults, guard, telemetry }: Service,
  session: Session,
  { socket, stream, req, by, socketPath }: NewConnection,
): void {
  if (session.ended.aborted) {
    socket.on("error", () => {});
    socket.close(1001, session.closeReason);
    return;
  }
  const serve = guard.around("upgrade", () => {
    idle.noteActivity();
    serveChannels(
      session,
      { socket, stream },
      {
        by,
        codec: codecFor(req?.url),
        log: log.child({ session: session.id }),
        faults,
        telemetry,
        guard,
        readerLimits: readerLimitsOf(limits),
        socketPath,
      },
    );
  });
  if (keyOf(req) === EXAMPLE_KEY) afterDelay(socket, serve);
  else serve();
}

/**
 * Whether the answer to an upgrade is the path of the session's socket.
 * Kallichore always answers so, and its own tests send the headers of the RFC's
 * example. A client with a key of its own wants a WebSocket, and cannot use a
 * path.
 */
function asksForSocketPath(req: IncomingMessage, path: string): boolean {
  const key = keyOf(req);
  return KALLICHORE_PATH.test(path) && (!KEY.test(key) || key === EXAMPLE_KEY);
}

function keyOf(req: IncomingMessage | undefined): string {
  return req?.headers["sec-websocket-key"] ?? "";
}

/**
 * A client that sends the RFC's example, such as Kallichore's tests, reads the
 * server's answer without a WebSocket library, and takes everything that arrives
 * with it for a part of it. So the first frame is sent later.
 */
function afterDelay(socket: WebSocket, then: () => void): void {
  socket.on("error", () => {});
  socket.pause();
  setTimeout(() => {
    if (socket.readyState === socket.OPEN) then();
    socket.resume();
  }, FIRST_FRAME_DELAY_MS);
}
