/**
 * A door serves one protocol at some addresses. The server has a list of doors;
 * the first that serves an address gets its requests (`dispatcher.ts`).
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { SupervisorError } from "../../contract/index.ts";

export interface Door {
  /** The methods of this path, such as `["GET", "HEAD"]`; empty if the door does not serve it. HEAD is GET without a body, which Node leaves out. */
  methodsAt(path: string): readonly string[];
  /** Whether the request needs no token. Default: it needs one. */
  isOpen?(method: string, path: string): boolean;
  /** Answers a request. May throw or reject with a failure before it has begun to answer: the dispatcher then answers. */
  handle(request: DoorRequest): void | Promise<void>;
  /** Whether this path accepts a WebSocket. Default: no path does. */
  upgradesAt?(path: string): boolean;
  /** Accepts the WebSocket, or answers with plain HTTP. May throw or reject with a failure, which is then the answer. */
  upgrade?(request: UpgradeRequest): void | Promise<void>;
  /** The response for a failure, also of an upgrade. Default: the contract's body for errors. */
  encodeFailure?(failed: SupervisorError, request: FailedRequest): HttpResponse;
  /** No more requests follow. The code that accepted the WebSockets closes them. */
  close?(): void;
}

export interface DoorRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly method: string;
  /** The path is relative to the server's own; the host has no meaning. */
  readonly url: URL;
}

/** The part of a request that decides how its failure is answered. */
export type FailedRequest = Pick<DoorRequest, "req" | "method" | "url">;

export interface UpgradeRequest {
  readonly req: IncomingMessage;
  readonly url: URL;
  /** Completes the handshake, and calls `opened` before anything is read from the socket. */
  readonly accept: (opened: (connection: WebSocketConnection) => void) => void;
  /** Answers with plain HTTP. */
  readonly answer: (status: number, body: unknown) => void;
}

/** An open WebSocket. */
export interface WebSocketConnection {
  readonly socket: WebSocket;
  /** The stream below the WebSocket. `undefined`: there is none, and frames are sent one by one. */
  readonly stream: Duplex | undefined;
}

/** A response. `body` is sent as JSON unless `headers` are given; then it is a text. */
export interface HttpResponse {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}
