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
import type { OpenOwn, OwnSocket } from "./door.ts";

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
  readonly sockets: Pick<WebSockets, "handshakes">;
  readonly transport: "socket" | "named-pipe";
  /** Private. */
  readonly directory: () => string;
  readonly guard: Guard;
}): OpenOwn {
  return async (enter) => {
    const hands = await sockets.handshakes();
    const name = randomBytes(8).toString("hex");
    const isPipe = transport === "named-pipe";
    const path = isPipe
      ? `\\\\.\\pipe\\kallichore-${name}`
      : join(directory(), `${name}.sock`);
    return openSocket(path, isPipe, {
      guard,
      upgrade(req, stream, head) {
        stream.on("error", () => {});
        hands.accept(req, stream, head, (connection) => enter(connection, req));
      },
      plain: (stream, head) => enter(hands.plain(stream, head)),
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

async function openSocket(
  path: string,
  isPipe: boolean,
  welcome: Welcome,
): Promise<OwnSocket> {
  /** What we do wrong with a connection is the end of that one. */
  const serve = (stream: { destroy(): unknown }, run: () => void): void => {
    try {
      run();
    } catch (error) {
      welcome.guard.tell(error, "a session's own socket");
      stream.destroy();
    }
  };
  /** Those of whom it is not known yet how they speak. */
  const strangers = new Set<Duplex>();
  const http = createHttp((_req, res) =>
    serve(res, () => sendFailure(res, failure("upgrade_required", {}))),
  );
  http.timeout = SILENCE_MS;
  http.on("upgrade", (req, stream: Duplex, head: Buffer) => {
    strangers.delete(stream);
    serve(stream, () => welcome.upgrade(req, stream, head));
  });
  const meet = (socket: Socket): void => {
    strangers.add(socket);
    const speaks = (first: Buffer) =>
      serve(socket, () => {
        settled();
        if (((first[0] ?? 0) & RESERVED) === 0) {
          strangers.delete(socket);
          welcome.plain(socket, first);
          return;
        }
        socket.pause();
        socket.unshift(first);
        http.emit("connection", socket);
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
  };
  const server = createServer({ allowHalfOpen: true }, (socket) =>
    serve(socket, () => meet(socket)),
  );
  await (isPipe ? bindPipe : bindPrivately)(server, path);
  return {
    path,
    /** Nobody comes in any more; who has been welcomed is not ours. */
    close() {
      server.close();
      for (const stream of strangers) stream.destroy();
      // A pipe is gone with its last handle; to look for it as for a file would be to connect to it.
      if (isPipe) return;
      try {
        rmSync(path, { force: true });
      } catch (error) {
        welcome.guard.tell(error, "a session's own socket");
      }
    },
  };
}
