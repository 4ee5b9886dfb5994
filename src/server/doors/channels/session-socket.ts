/**
 * A session's own socket or pipe. Each connection is a client of that session:
 * after a WebSocket handshake on any path or, as Kallichore allows, without one.
 * Without a handshake the first byte belongs to a frame, or the client sends
 * nothing because it only reads.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { createServer as createHttp, type IncomingMessage } from "node:http";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { failure } from "../../../../contract/index.ts";
import { bindPipe, bindPrivately } from "../../../host/private-socket.ts";
import type { Guard } from "../../../log/guard.ts";
import { sendFailure } from "../../respond.ts";
import type { WebSockets } from "../../websockets.ts";
import type { OpenSessionSocket, SessionSocket } from "./door.ts";

/** A client that sends nothing for this long does not use a handshake. Kallichore's value. */
const FIRST_BYTE_TIMEOUT_MS = 5_000;
/** A frame's reserved bits, which are 0 without a handshake (RFC 6455 §5.2). Every ASCII letter has one of them set. */
const RESERVED = 0x70;
const NOTHING = Buffer.alloc(0);

/** Opens the sockets of sessions, for a server that itself listens on a socket or pipe. */
export function sessionSocketsIn({
  sockets,
  transport,
  directory,
  guard,
}: {
  readonly sockets: Pick<WebSockets, "handshakes">;
  readonly transport: "socket" | "named-pipe";
  /** The private directory for the sockets. */
  readonly directory: () => string;
  readonly guard: Guard;
}): OpenSessionSocket {
  return async (onConnection) => {
    const handshaker = await sockets.handshakes();
    const name = randomBytes(8).toString("hex");
    const isPipe = transport === "named-pipe";
    const path = isPipe
      ? `\\\\.\\pipe\\kallichore-${name}`
      : join(directory(), `${name}.sock`);
    return openSocket(path, isPipe, {
      guard,
      upgrade(req, stream, head) {
        stream.on("error", () => {});
        handshaker.accept(req, stream, head, (connection) =>
          onConnection(connection, req),
        );
      },
      plain: (stream, head) => onConnection(handshaker.plain(stream, head)),
    });
  };
}

interface ConnectionHandlers {
  readonly guard: Guard;
  /** A client that requests a WebSocket, and is not answered yet. */
  upgrade(req: IncomingMessage, stream: Duplex, head: Buffer): void;
  /** A client that sends frames without a handshake. `head`: the first bytes. */
  plain(stream: Duplex, head: Buffer): void;
}

async function openSocket(
  path: string,
  isPipe: boolean,
  handlers: ConnectionHandlers,
): Promise<SessionSocket> {
  /** A bug in the server ends only the connection in which it occurs. */
  const guarded = (stream: { destroy(): unknown }, run: () => void): void => {
    try {
      run();
    } catch (error) {
      handlers.guard.report(error, "a session's own socket");
      stream.destroy();
    }
  };
  /** Connections whose protocol is not known yet. */
  const undecided = new Set<Duplex>();
  const http = createHttp((_req, res) =>
    guarded(res, () => sendFailure(res, failure("upgrade_required", {}))),
  );
  http.timeout = FIRST_BYTE_TIMEOUT_MS;
  http.on("upgrade", (req, stream: Duplex, head: Buffer) => {
    undecided.delete(stream);
    guarded(stream, () => handlers.upgrade(req, stream, head));
  });
  const detectProtocol = (socket: Socket): void => {
    undecided.add(socket);
    const onFirstBytes = (first: Buffer) =>
      guarded(socket, () => {
        stopDetecting();
        if (((first[0] ?? 0) & RESERVED) === 0) {
          undecided.delete(socket);
          handlers.plain(socket, first);
          return;
        }
        socket.pause();
        socket.unshift(first);
        http.emit("connection", socket);
        socket.resume();
      });
    const onEnd = () => {
      stopDetecting();
      socket.destroy();
    };
    const timer = setTimeout(
      () => onFirstBytes(NOTHING),
      FIRST_BYTE_TIMEOUT_MS,
    );
    const stopDetecting = () => {
      clearTimeout(timer);
      socket.off("data", onFirstBytes).off("end", onEnd);
    };
    socket.on("error", () => {}); // `close` follows
    socket.once("close", () => {
      stopDetecting();
      undecided.delete(socket);
    });
    socket.on("data", onFirstBytes).on("end", onEnd);
  };
  const server = createServer({ allowHalfOpen: true }, (socket) =>
    guarded(socket, () => detectProtocol(socket)),
  );
  await (isPipe ? bindPipe : bindPrivately)(server, path);
  return {
    path,
    /** Accepts no more connections. Those that were passed on stay open. */
    close() {
      server.close();
      for (const stream of undecided) stream.destroy();
      // A pipe vanishes with its last handle. To look for it as for a file would connect to it.
      if (isPipe) return;
      try {
        rmSync(path, { force: true });
      } catch (error) {
        handlers.guard.report(error, "a session's own socket");
      }
    },
  };
}
