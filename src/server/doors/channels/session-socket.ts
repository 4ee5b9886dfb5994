/**
 * A session's own socket or pipe. Whoever connects is a client of that session:
 * by a WebSocket handshake on any path or, as Kallichore allows, without one:
 * then the first byte is a frame's already, or there is none because the client
 * only listens.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { createServer as createHttp, type IncomingMessage } from "node:http";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { failure } from "../../../../contract/index.ts";
import { bindPipe, bindPrivately } from "../../bind.ts";
import type { Guard } from "../../../log/guard.ts";
import { sendFailure } from "../../respond.ts";
import type { WebSockets } from "../../websockets.ts";
import type { OpenSessionSocket, SessionSocket } from "./door.ts";

/** Who says nothing for so long shakes no hands. Kallichore's figure. */
const FIRST_BYTE_TIMEOUT_MS = 5_000;
/** A frame's reserved bits, which nobody sets without a handshake (RFC 6455 §5.2); every letter has one of them. */
const RESERVED = 0x70;
const NOTHING = Buffer.alloc(0);

/** Opens the sockets of sessions, for a server that is itself reached by one. */
export function sessionSocketsIn({
  sockets,
  transport,
  directory,
  guard,
}: {
  readonly sockets: Pick<WebSockets, "handshakes">;
  readonly transport: "socket" | "named-pipe";
  /** Private. */
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
  /** Asked for a WebSocket, and is still to be answered. */
  upgrade(req: IncomingMessage, stream: Duplex, head: Buffer): void;
  /** Speaks in frames, of which `head` is what came first. */
  plain(stream: Duplex, head: Buffer): void;
}

async function openSocket(
  path: string,
  isPipe: boolean,
  handlers: ConnectionHandlers,
): Promise<SessionSocket> {
  /** What we do wrong with a connection is the end of that one. */
  const guarded = (stream: { destroy(): unknown }, run: () => void): void => {
    try {
      run();
    } catch (error) {
      handlers.guard.report(error, "a session's own socket");
      stream.destroy();
    }
  };
  /** Those of whom it is not known yet how they speak. */
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
    socket.on("error", () => {}); // it closes, too
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
    /** Nobody comes in any more; who has been welcomed is not ours. */
    close() {
      server.close();
      for (const stream of undecided) stream.destroy();
      // A pipe is gone with its last handle; to look for it as for a file would be to connect to it.
      if (isPipe) return;
      try {
        rmSync(path, { force: true });
      } catch (error) {
        handlers.guard.report(error, "a session's own socket");
      }
    },
  };
}
