/** WebSockets over Node's HTTP: handshakes for the doors, and goodbyes. */
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import { type WebSocket, WebSocketServer } from "ws";
import { limits } from "../../contract/limits.ts";
import type { WebSocketConnection } from "./door.ts";
import { urlOf } from "./address.ts";
import type { Entrance } from "./entrance.ts";
import { LINGER_MS } from "./request-body.ts";
import { PatientSocket, plainWebSocket } from "./large-messages.ts";
import { SPAN, spanOf } from "./span.ts";
import { sayGoodbye } from "./socket.ts";

export interface WebSockets {
  /** An upgrade, as Node gives it. Never rejects. */
  upgrade(
    entrance: Entrance,
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
  ): Promise<void>;
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

export function webSockets(): WebSockets {
  const server = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.body_bytes,
    WebSocket: PatientSocket,
  });
  const accept: WebSockets["accept"] = (req, stream, head, opened) => {
    server.handleUpgrade(req, stream, head, (socket) =>
      opened({ socket: unlimited(socket), stream: unlimited(stream) }),
    );
  };
  return {
    accept,
    async upgrade(entrance, req, stream, head) {
      stream.on("error", () => {}); // a connection that breaks while it is opened is nobody's loss
      await entrance.upgrade({
        req,
        url: urlOf(req),
        accept: (opened) => accept(req, stream, head, opened),
        answer: (status, body) => answer(req, stream, { status, body }),
      });
    },
    plain(stream, head) {
      const { clients, options } = server;
      const socket = plainWebSocket(stream, head, options);
      clients.add(socket);
      socket.on("close", () => clients.delete(socket));
      return { socket, stream };
    },
    close: () => sayGoodbye(server.clients),
  };
}

/** Each subscription on a connection waits for it to drain. */
function unlimited<T extends WebSocket | Duplex>(emitter: T): T {
  emitter.setMaxListeners(0);
  return emitter;
}

/** An upgrade that is not to be, such as a refused one, is answered as any request would be, in the same words. */
export function answer(
  req: IncomingMessage,
  stream: Duplex,
  { status, body: said }: { readonly status: number; readonly body: unknown },
): void {
  endWith(stream, { status, said, span: spanOf(req) });
}

/** The last answer on a connection; what still comes has a moment to come, so that the answer can be read. */
export function endWith(
  stream: Duplex,
  {
    status,
    said,
    span,
  }: { readonly status: number; readonly said: unknown; readonly span: string },
): void {
  const body = JSON.stringify(said);
  stream.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(body)}`,
      `${SPAN}: ${span}`,
      "connection: close",
      "",
      body,
    ].join("\r\n"),
  );
  stream.resume();
  const timer = setTimeout(() => stream.destroy(), LINGER_MS);
  stream.once("close", () => clearTimeout(timer));
}
