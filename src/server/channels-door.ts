/**
 * The addresses of a session's channels: an upgrade where the client asks for
 * one; on a Unix socket, at Kallichore's address, the path of a socket of the
 * session's own, where any path is that session. One such socket serves a
 * session for its whole life, under a name that cannot collide.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { WebSocketServer } from "ws";
import { failure } from "../../contract/index.ts";
import type { Session } from "../session/session.ts";
import { ownChannels } from "./channels.ts";
import { kallichore } from "./kallichore.ts";
import { bindPipe, bindPrivately, type DoorOptions } from "./listen.ts";
import { sendFailure, sendJson } from "./rest.ts";
import type { Service } from "./service.ts";

const MAX_FRAME = 64 * 1024 * 1024; // bytes
const KALLICHORES = /^\/sessions\/([^/]+)\/channels$/;
const PATHS = [KALLICHORES, /^\/api\/channels\/([^/]+)$/];

export class ChannelsDoor {
  readonly #service: Service;
  readonly #options: DoorOptions;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: MAX_FRAME,
  });
  /** The session's own sockets, by session. */
  readonly #own = new Map<Session, Promise<OwnSocket>>();

  constructor(service: Service, options: DoorOptions) {
    this.#service = service;
    this.#options = options;
  }

  serves(method: string | undefined, path: string): boolean {
    return method === "GET" && PATHS.some((pattern) => pattern.test(path));
  }

  /** Asked without an upgrade: where to connect. */
  async handle(res: ServerResponse, path: string): Promise<void> {
    if (this.#isLocal) sendJson(res, 200, await this.whereabouts(path));
    else {
      this.#sessionAt(path);
      res.setHeader("upgrade", "websocket");
      res.setHeader("connection", "upgrade");
      throw failure("upgrade_required", {});
    }
  }

  /** Whether the answer here is another address even to who asks to be upgraded: some of Kallichore's clients do both. */
  pointsElsewhere(path: string): boolean {
    return this.#isLocal && KALLICHORES.test(path);
  }

  /** The path of the session's own socket. Rejects with `session_not_found`. */
  async whereabouts(path: string): Promise<string> {
    const session = this.#sessionAt(path);
    const own = this.#own.get(session) ?? this.#openOwn(session);
    this.#own.set(session, own);
    return (await own).path;
  }

  /** Throws `session_not_found`; nobody is displaced by who is refused. */
  upgrade(
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    path: string,
  ): void {
    this.#attach(this.#sessionAt(path), { req, stream, head });
  }

  close(): void {
    for (const socket of this.#sockets.clients) {
      socket.close(1001, "the server ends");
    }
    for (const own of this.#own.values()) {
      void own.then((socket) => socket.close());
    }
    this.#own.clear();
  }

  get #isLocal(): boolean {
    return this.#options.transport !== "tcp";
  }

  #attach(
    session: Session,
    {
      req,
      stream,
      head,
    }: { req: IncomingMessage; stream: Duplex; head: Buffer },
    socketPath?: string,
  ): void {
    this.#sockets.handleUpgrade(req, stream, head, (socket) => {
      const { idle, limits } = this.#service;
      idle.nudge();
      ownChannels(session, socket, stream, {
        codec: kallichore,
        log: this.#service.log.child({ session: session.id }),
        patience: {
          limit: limits.reader_buffer_bytes,
          patience_ms: limits.reader_patience_ms,
        },
        socketPath,
      });
    });
  }

  #sessionAt(path: string): Session {
    const [, segment] =
      PATHS.map((pattern) => pattern.exec(path)).find(
        (match) => match !== null,
      ) ?? [];
    let session_id: string;
    try {
      session_id = decodeURIComponent(segment ?? "");
    } catch (cause) {
      const why = "The path is no percent-encoded UTF-8";
      throw failure("bad_request", { why }, { cause });
    }
    return this.#service.supervisor.session(session_id);
  }

  async #openOwn(session: Session): Promise<OwnSocket> {
    const name = randomBytes(8).toString("hex");
    const isPipe = this.#options.transport === "named-pipe";
    const path = isPipe
      ? `\\\\.\\pipe\\kallichore-${name}`
      : join(this.#options.socketDirectory(), `${name}.sock`);
    const http = createServer((_req, res) => {
      sendFailure(res, failure("upgrade_required", {}));
    });
    http.on("upgrade", (req, stream: Duplex, head: Buffer) => {
      stream.on("error", () => {});
      if (session.ended.aborted) stream.destroy();
      else this.#attach(session, { req, stream, head }, path);
    });
    if (isPipe) await bindPipe(http, path);
    else await bindPrivately(http, path);
    const own = new OwnSocket(http, path, !isPipe);
    session.ended.addEventListener("abort", () => {
      own.close();
      this.#own.delete(session);
    });
    return own;
  }
}

class OwnSocket {
  readonly path: string;
  readonly #http: Server;
  readonly #isFile: boolean;

  constructor(http: Server, path: string, isFile: boolean) {
    this.#http = http;
    this.path = path;
    this.#isFile = isFile;
  }

  close(): void {
    this.#http.close();
    this.#http.closeIdleConnections();
    // A pipe is gone with its last handle; to look for it as for a file would be to connect to it.
    if (this.#isFile) rmSync(this.path, { force: true });
  }
}
