/**
 * A session's own socket or pipe. Whoever connects is a client of that session:
 * by a WebSocket handshake on any path or, as Kallichore allows, without one:
 * then the first byte is a frame's already, or there is none because the client
 * only listens.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { createServer as createHttp, type IncomingMessage } from "node:http";
import { createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { failure } from "../../../../contract/index.ts";
import { bindPipe, bindPrivately } from "../../bind.ts";
import type { Guard } from "../../../log/guard.ts";
import { sendFailure } from "../../respond.ts";
import type { WebSockets } from "../../websockets.ts";
import type { OpenOwn } from "./door.ts";

/** Who says nothing for so long shakes no hands. Kallichore's figure. */
const SILENCE_MS = 5_000;
/** A frame's reserved bits, which nobody sets without a handshake (RFC 6455 §5.2); every letter has one of them. */
const RESERVED = 0x70;
const NOTHING = Buffer.alloc(0);

/** Opens the sockets of sessions, for a server that is itself reached by one. */
export function ownSockets({
  sockets,
  transport,
  directory,
  guard,
}: {
  readonly sockets: Pick<WebSockets, "accept" | "plain">;
  readonly transport: "socket" | "named-pipe";
  /** Private. */
  readonly directory: () => string;
  readonly guard: Guard;
}): OpenOwn {
  return (enter) => {
    const name = randomBytes(8).toString("hex");
    const isPipe = transport === "named-pipe";
    const path = isPipe
      ? `\\\\.\\pipe\\kallichore-${name}`
      : join(directory(), `${name}.sock`);
    return OwnSocket.open(path, isPipe, {
      guard,
      upgrade(req, stream, head) {
        stream.on("error", () => {});
        sockets.accept(req, stream, head, (connection) =>
          enter(connection, req),
        );
      },
      plain: (stream, head) => enter(sockets.plain(stream, head)),
    });
  };
}

interface Welcome {
  readonly guard: Guard;
  /** Asked for a WebSocket, and is still to be answered. */
  upgrade(req: IncomingMessage, stream: Duplex, head: Buffer): void;
  /** Speaks in frames, of which `head` is what came first. */
  plain(stream: Duplex, head: Buffer): void;
}

class OwnSocket {
  readonly path: string;
  readonly #isPipe: boolean;
  readonly #welcome: Welcome;
  readonly #server: Server;
  readonly #http = createHttp((_req, res) =>
    this.#serve(res, () => sendFailure(res, failure("upgrade_required", {}))),
  );
  /** Those of whom it is not known yet how they speak. */
  readonly #strangers = new Set<Duplex>();

  private constructor(path: string, isPipe: boolean, welcome: Welcome) {
    this.path = path;
    this.#isPipe = isPipe;
    this.#welcome = welcome;
    this.#server = createServer({ allowHalfOpen: true }, (socket) =>
      this.#serve(socket, () => this.#meet(socket)),
    );
    this.#http.timeout = SILENCE_MS;
    this.#http.on("upgrade", (req, stream: Duplex, head: Buffer) => {
      this.#strangers.delete(stream);
      this.#serve(stream, () => welcome.upgrade(req, stream, head));
    });
  }

  static async open(
    path: string,
    isPipe: boolean,
    welcome: Welcome,
  ): Promise<OwnSocket> {
    const own = new OwnSocket(path, isPipe, welcome);
    if (isPipe) await bindPipe(own.#server, path);
    else await bindPrivately(own.#server, path);
    return own;
  }

  /** Nobody comes in any more; who has been welcomed is not ours. */
  close(): void {
    this.#server.close();
    for (const stream of this.#strangers) stream.destroy();
    // A pipe is gone with its last handle; to look for it as for a file would be to connect to it.
    if (this.#isPipe) return;
    try {
      rmSync(this.path, { force: true });
    } catch (error) {
      this.#welcome.guard.tell(error, "a session's own socket");
    }
  }

  /** What we do wrong with a connection is the end of that one. */
  #serve(stream: { destroy(): unknown }, run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#welcome.guard.tell(error, "a session's own socket");
      stream.destroy();
    }
  }

  #meet(socket: Socket): void {
    const strangers = this.#strangers;
    strangers.add(socket);
    const speaks = (first: Buffer) =>
      this.#serve(socket, () => {
        settled();
        if (((first[0] ?? 0) & RESERVED) === 0) {
          strangers.delete(socket);
          this.#welcome.plain(socket, first);
          return;
        }
        socket.pause();
        socket.unshift(first);
        this.#http.emit("connection", socket);
        socket.resume();
      });
    const leaves = () => {
      settled();
      socket.destroy();
    };
    const silence = setTimeout(() => speaks(NOTHING), SILENCE_MS);
    const settled = () => {
      clearTimeout(silence);
      socket.off("data", speaks).off("end", leaves);
    };
    socket.on("error", () => {}); // it closes, too
    socket.once("close", () => {
      settled();
      strangers.delete(socket);
    });
    socket.on("data", speaks).on("end", leaves);
  }
}
