/** Handshakes of WebSockets. What knows how is loaded with this file, when somebody first wants one. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { limits } from "../../contract/limits.ts";
import type { WebSocketConnection } from "./door.ts";
import { LargeMessageSocket, plainWebSocket } from "./large-messages.ts";
import { closeSockets } from "./socket.ts";

export interface Handshakes {
  /** Shakes hands. */
  accept(
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    opened: (connection: WebSocketConnection) => void,
  ): void;
  /** A client that shakes no hands, but speaks in frames; `head` is what came. */
  plain(stream: Duplex, head: Buffer): WebSocketConnection;
  /** Everybody is told that the server ends, and cut off where they do not answer. */
  close(): void;
}

export function handshakes(): Handshakes {
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.body_bytes,
    WebSocket: LargeMessageSocket,
  });
  return {
    accept(req, stream, head, opened) {
      server.handleUpgrade(req, stream, head, (socket) =>
        opened({ socket: unlimited(socket), stream: unlimited(stream) }),
      );
    },
    plain(stream, head) {
      const { clients, options } = server;
      const socket = plainWebSocket(stream, head, options);
      clients.add(socket);
      socket.on("close", () => clients.delete(socket));
      return { socket, stream };
    },
    close: () => closeSockets(server.clients),
  };
}

/** Each subscription on a connection waits for it to drain. */
function unlimited<T extends WebSocket | Duplex>(emitter: T): T {
  emitter.setMaxListeners(0);
  return emitter;
}
