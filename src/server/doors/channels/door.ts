/**
 * The addresses of a session's channels: an upgrade where the client asks for
 * one; on a Unix socket, at Kallichore's address, the path of a socket of the
 * session's own, where any path is that session. One such socket serves a
 * session for its whole life, under a name that cannot collide.
 */
import { randomBytes, randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { WebSocket, WebSocketServer } from "ws";
import { failure } from "../../../../contract/index.ts";
import { limits } from "../../../../contract/limits.ts";
import { EVERYTHING, type Principal } from "../../../session/principal.ts";
import type { Session } from "../../../session/session.ts";
import { type Codec, ownChannels } from "./channels.ts";
import { codecFor } from "./kallichore.ts";
import type { DoorOptions } from "../../door.ts";
import { assertPermitted, assertUnlimited } from "../../permit.ts";
import { admit, principalOf } from "../../principal.ts";
import { OwnSocket } from "./own-socket.ts";
import { sendJson } from "../rest/rest.ts";
import type { Service } from "../../answers/service.ts";
import { PatientSocket, plainWebSocket } from "../../large-messages.ts";
import { sayGoodbye } from "../../socket.ts";

const KALLICHORES = /^\/sessions\/([^/]+)\/channels$/;
const PATHS = [KALLICHORES, /^\/api\/channels\/([^/]+)$/];
/** Base64 of 16 bytes (RFC 6455 §4.1). */
const KEY = /^[+/\dA-Za-z]{22}==$/;
/** That of the example in RFC 6455 §1.3. */
const EXAMPLE_KEY = "dGhlIHNhbXBsZSBub25jZQ==";
/** What a client may take to read our answer to that. */
const MOMENT_MS = 50;

export class ChannelsDoor {
  readonly #service: Service;
  readonly #options: DoorOptions;
  readonly #sockets = new WebSocketServer({
    noServer: true,
    perMessageDeflate: false,
    maxPayload: limits.body_bytes,
    WebSocket: PatientSocket,
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
    if (this.#isLocal) {
      const by = principalOf(res.req);
      sendJson(res, 200, await this.whereabouts(path, by));
    } else {
      this.#sessionAt(path);
      res.setHeader("upgrade", "websocket");
      res.setHeader("connection", "upgrade");
      throw failure("upgrade_required", {});
    }
  }

  /**
   * Whether the answer here is another address even to who asks to be upgraded.
   * Kallichore gives it to everybody, and its own tests ask for it with the
   * headers of the RFC's example; who makes a key for itself wants a WebSocket,
   * and can do nothing with an address.
   */
  pointsElsewhere(req: IncomingMessage, path: string): boolean {
    if (!this.#isLocal || !KALLICHORES.test(path)) return false;
    const key = keyOf(req);
    return !KEY.test(key) || key === EXAMPLE_KEY;
  }

  /** The path of the session's own socket, where nobody is asked who they are. Rejects with `session_not_found`, `forbidden`. */
  async whereabouts(path: string, by: Principal): Promise<string> {
    assertUnlimited(by);
    const session = this.#sessionAt(path);
    let own = this.#own.get(session);
    if (own === undefined) {
      own = this.#openOwn(session);
      this.#own.set(session, own);
      own.catch(() => this.#own.delete(session)); // who asks next may have more luck
    }
    return (await own).path;
  }

  /** Throws `session_not_found`; nobody is displaced by who is refused. */
  upgrade(
    req: IncomingMessage,
    stream: Duplex,
    head: Buffer,
    path: string,
  ): void {
    assertPermitted(principalOf(req), "execute"); // its owner displaces another
    this.#attach(this.#sessionAt(path), { req, stream, head });
  }

  close(): void {
    sayGoodbye(this.#sockets.clients);
    for (const own of this.#own.values()) {
      own.then((socket) => socket.close()).catch(() => {}); // one that did not open needs no closing
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
      const codec = codecFor(req.url);
      const by = principalOf(req);
      const carry = () =>
        this.#carry(session, { by, socket, stream, socketPath, codec });
      if (keyOf(req) === EXAMPLE_KEY) {
        const { guard } = this.#service;
        aMomentLater(socket, guard.around("upgrade", carry));
      } else carry();
    });
  }

  /** A client that shook no hands. */
  #attachPlain(
    session: Session,
    { stream, head }: { stream: Duplex; head: Buffer },
    socketPath: string,
  ): void {
    const { clients, options } = this.#sockets;
    const socket = plainWebSocket(stream, head, options);
    clients.add(socket);
    socket.on("close", () => clients.delete(socket));
    const codec = codecFor(undefined);
    const by = { scopes: EVERYTHING, client: null, span_id: randomUUID() };
    this.#carry(session, { by, socket, stream, socketPath, codec });
  }

  #carry(
    session: Session,
    {
      by,
      socket,
      stream,
      socketPath,
      codec,
    }: {
      by: Principal;
      socket: WebSocket;
      stream: Duplex;
      socketPath: string | undefined;
      codec: Codec;
    },
  ): void {
    if (session.ended.aborted) {
      socket.on("error", () => {});
      socket.close(1001, session.farewell);
      return;
    }
    const { idle, limits } = this.#service;
    idle.nudge();
    ownChannels(session, socket, stream, {
      by,
      codec,
      log: this.#service.log.child({ session: session.id }),
      faults: this.#service.faults,
      guard: this.#service.guard,
      patience: {
        limit: limits.reader_buffer_bytes,
        patience_ms: limits.reader_patience_ms,
      },
      socketPath,
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
    const { guard } = this.#service;
    const own = await OwnSocket.open(path, isPipe, {
      upgrade: (req, stream, head) => {
        stream.on("error", () => {});
        admit(req, EVERYTHING); // who may open the socket is the file's to say
        guard.around("upgrade", () =>
          this.#attach(session, { req, stream, head }, path),
        )();
      },
      plain: guard.around("own socket", (stream: Duplex, head: Buffer) =>
        this.#attachPlain(session, { stream, head }, path),
      ),
    });
    const { id: session_id, ended } = session;
    const end = () => {
      own.close();
      this.#own.delete(session);
    };
    ended.addEventListener("abort", end);
    if (ended.aborted) {
      end();
      throw failure("session_not_found", { session_id });
    }
    return own;
  }
}

function keyOf({ headers }: IncomingMessage): string {
  return headers["sec-websocket-key"] ?? "";
}

/**
 * Who sends the RFC's example reads our answer with its own hands, as
 * Kallichore's tests do, and takes what came with it for a part of it. So the
 * first frame comes apart from it.
 */
function aMomentLater(socket: WebSocket, then: () => void): void {
  socket.on("error", () => {});
  socket.pause();
  setTimeout(() => {
    if (socket.readyState === WebSocket.OPEN) then();
    socket.resume();
  }, MOMENT_MS);
}
