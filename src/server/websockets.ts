/** WebSockets over Node's HTTP server: handshakes for the doors, and the orderly close. */
import { type IncomingMessage, STATUS_CODES } from "node:http";
import type { Duplex } from "node:stream";
import type { Dispatcher } from "./dispatcher.ts";
import type { Handshakes } from "./handshakes.ts";
import { LINGER_MS } from "./request-body.ts";
import { SPAN, spanOf } from "./span.ts";

export interface WebSockets {
  /** Handles an upgrade, as Node passes it. Never rejects. */
  upgrade(
    dispatcher: Dispatcher,
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
  ): Promise<void>;
  /** Loads the code for handshakes. */
  handshakes(): Promise<Handshakes>;
  /** Closes all WebSockets: orderly, with this code, then by force. Opens no more. Resolves when all have closed. */
  close(code: number): Promise<void>;
}

export function webSockets(): WebSockets {
  let loaded: Handshakes | undefined;
  let isClosed = false;
  const handshakes = async (): Promise<Handshakes> => {
    const loading = await import("./handshakes.ts");
    return (loaded ??= loading.handshakes());
  };
  return {
    handshakes,
    async upgrade(dispatcher, req, stream, head) {
      stream.on("error", () => {}); // a connection that breaks while it is opened needs no action
      const handshaker = await handshakes();
      await dispatcher.upgrade({
        req,
        accept(opened) {
          if (isClosed) stream.destroy();
          else handshaker.accept(req, stream, head, opened);
        },
        answer: (status, body) => answerUpgrade(req, stream, { status, body }),
      });
    },
    async close(code) {
      isClosed = true;
      await loaded?.close(code);
    },
  };
}

/** Answers an upgrade that does not take place, such as a refused one, like any other request. */
export function answerUpgrade(
  req: IncomingMessage,
  stream: Duplex,
  { status, body }: { readonly status: number; readonly body: unknown },
): void {
  sendLastResponse(stream, { status, body, span: spanOf(req) });
}

/** Sends the last response on a connection. Data that still arrives is read for a while, so that the client can read the response. */
export function sendLastResponse(
  stream: Duplex,
  {
    status,
    body,
    span,
  }: { readonly status: number; readonly body: unknown; readonly span: string },
): void {
  const json = JSON.stringify(body);
  stream.end(
    [
      `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}`,
      "content-type: application/json",
      `content-length: ${Buffer.byteLength(json)}`,
      `${SPAN}: ${span}`,
      "connection: close",
      "",
      json,
    ].join("\r\n"),
  );
  stream.resume();
  const timer = setTimeout(() => stream.destroy(), LINGER_MS);
  stream.once("close", () => clearTimeout(timer));
}
