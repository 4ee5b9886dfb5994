/**
 * A socket on loopback that a few peers connect to and ask, each to be answered
 * where it asked: as much of a ZeroMQ ROUTER as a kernel's registration needs.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { PeerQueue } from "../peer-queue.ts";
import type { Frames } from "../transport.ts";
import { ZmtpConnection } from "./connection.ts";

/** Of a kernel that may try again, and of strangers: who has been there longest makes room for a newcomer. */
const PEERS_LIMIT = 16;
/** A registration is a few hundred bytes. */
const MESSAGE_LIMIT = 64 * 1024; // bytes

/** A peer for the time of one message. */
export interface Sender {
  answer(frames: Frames): void;
  /** It is a stranger: nothing more is heard of it. */
  dismiss(): void;
}

/** Hears a message, which is valid for the time of the call. Must not throw. */
export type Hear = (frames: Frames, sender: Sender) => void;

export class Router implements Disposable {
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #peers = new Set<ZmtpConnection>();
  readonly #hear: Hear;

  /** Resolves once it listens, on a port that the system chooses. */
  static async bind(hear: Hear, ip = "127.0.0.1"): Promise<Router> {
    const router = new Router(hear);
    router.#server.listen(0, ip);
    await once(router.#server, "listening");
    router.#server.on("error", () => {}); // one that cannot be accepted asks again
    return router;
  }

  private constructor(hear: Hear) {
    this.#hear = hear;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** What was answered still goes out. */
  [Symbol.dispose](): void {
    this.#server.close();
    for (const peer of this.#peers) peer.finish();
    this.#peers.clear();
  }

  #accept(socket: Socket): void {
    const [oldest] = this.#peers;
    if (this.#peers.size >= PEERS_LIMIT && oldest !== undefined) {
      oldest.destroy(); // strangers that say nothing keep no kernel out
      this.#peers.delete(oldest);
    }
    socket.setNoDelay(true);
    const line = new PeerQueue();
    const sender: Sender = {
      answer: (frames) => line.push(frames),
      dismiss: () => {
        peer.destroy();
        this.#peers.delete(peer);
      },
    };
    const peer = new ZmtpConnection(
      { type: "router", accepted: { socket, limit: MESSAGE_LIMIT } },
      {
        ready: () => {},
        messages: (batch) => {
          for (const frames of batch) {
            this.#hear(frames, sender);
            if (!this.#peers.has(peer)) return;
          }
          if (line.length > 0) peer.writeFrom(line);
        },
        drained: () => {
          if (line.length > 0) peer.writeFrom(line);
        },
        ended: () => this.#peers.delete(peer),
      },
    );
    this.#peers.add(peer);
  }
}
