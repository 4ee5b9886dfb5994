/** Handshakes of WebSockets. This file and the package `ws` are loaded when the first WebSocket is opened. */
import type { IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { limits } from "../../contract/limits.ts";
import type { WebSocketConnection } from "./door.ts";
import { LargeMessageSocket, plainWebSocket } from "./large-messages.ts";
import { closeSockets } from "./socket.ts";
import { subprotocolOf } from "./subprotocol.ts";

export interface Handshakes {
  /** Completes the handshake. */
  accept(
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    opened: (connection: WebSocketConnection) => void,
  ): void;
  /** A WebSocket for a client that sends frames without a handshake. `head`: the bytes that have arrived. */
  plain(stream: Duplex, head: Buffer): WebSocketConnection;
  /** Closes all WebSockets: orderly, then by force. */
  close(code: number): Promise<void>;
}

export function handshakes(): Handshakes {
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    handleProtocols: subprotocolOf,
    maxPayload: limits.body_bytes,
    WebSocket: LargeMessageSocket,
  });
  return {
    accept(req, stream, head, opened) {
      server.handleUpgrade(req, stream, head, (socket) => {
        endAfterClose(socket, stream);
        opened({ socket: unlimited(socket), stream: unlimited(stream) });
      });
    },
    plain(stream, head) {
      const { clients, options } = server;
      const socket = plainWebSocket(stream, head, options);
      clients.add(socket);
      endAfterClose(socket, stream);
      socket.on("close", () => clients.delete(socket));
      return { socket, stream };
    },
    close: (code) => closeSockets(server.clients, code),
  };
}

/**
 * Ends the connection when both sides have sent a close frame (RFC 6455 §7.1.1:
 * the server ends it first). `ws` waits up to 30 s for the client to end it, and
 * reports the close only then.
 */
function endAfterClose(socket: WebSocket, stream: Duplex): void {
  stream.once("finish", () => {
    const { _closeFrameReceived: isClosed } = socket as WebSocket & {
      readonly _closeFrameReceived?: boolean;
    };
    if (isClosed === true) stream.destroy();
  });
}

/** Without a limit on listeners: each subscription on a connection waits for its `drain`. */
function unlimited<T extends WebSocket | Duplex>(emitter: T): T {
  emitter.setMaxListeners(0);
  return emitter;
}
