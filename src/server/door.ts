/**
 * A door: one protocol at some addresses. The server has a list of doors, and
 * the first that serves an address gets what is asked there (`entrance.ts`).
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { WebSocket } from "ws";
import type { SupervisorError } from "../../contract/index.ts";

export interface Door {
  /** What may be asked of this path, such as `["GET", "HEAD"]`; empty where it is not this door's. HEAD is GET without a body, which Node leaves out. */
  methodsAt(path: string): readonly string[];
  /** Whether that needs no token. Default: it needs one. */
  isOpen?(method: string, path: string): boolean;
  /** Answers a request. May throw or reject with a failure as long as it has not begun to answer: the entrance then answers. */
  handle(request: DoorRequest): void | Promise<void>;
  /** Whether this path is a WebSocket here. Default: none is. */
  upgradesAt?(path: string): boolean;
  /** Accepts the WebSocket, or answers otherwise. May throw or reject with a failure, which is then the answer. */
  upgrade?(request: UpgradeRequest): void | Promise<void>;
  /** How a failure is said here. Default: the contract's body for errors. */
  encodeFailure?(failed: SupervisorError, request: DoorRequest): HttpResponse;
  /** Nobody comes in any more. WebSockets are told so by whoever accepted them. */
  close?(): void;
}

export interface DoorRequest {
  readonly req: IncomingMessage;
  readonly res: ServerResponse;
  readonly method: string;
  /** Its host means nothing; its path is below the server's own. */
  readonly url: URL;
}

export interface UpgradeRequest {
  readonly req: IncomingMessage;
  readonly url: URL;
  /** Shakes hands, and calls `opened` before anything is read from the socket. */
  readonly accept: (opened: (connection: WebSocketConnection) => void) => void;
  /** Answers as plain HTTP. */
  readonly answer: (status: number, body: unknown) => void;
}

/** An open WebSocket. */
export interface WebSocketConnection {
  readonly socket: WebSocket;
  /** What is beneath it; `undefined` where nothing is, and frames go out one by one. */
  readonly stream: Duplex | undefined;
}

/** An answer: `body` is JSON, unless `headers` say another type. */
export interface HttpResponse {
  readonly status: number;
  readonly body: unknown;
  readonly headers?: Readonly<Record<string, string>> | undefined;
}
