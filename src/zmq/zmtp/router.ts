/**
 * A socket on loopback that receives requests of a few peers and replies to each:
 * the part of a ZeroMQ ROUTER that a kernel's registration needs.
 */
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { PeerQueue } from "../peer-queue.ts";
import type { Frames } from "../transport.ts";
import { ZmtpConnection } from "./connection.ts";

/** The most connections, of kernels and of foreign processes. At the limit a new connection replaces the oldest one. */
const PEERS_LIMIT = 16;
/** A registration has a few hundred bytes. */
const REGISTRATION_LIMIT = 64 * 1024; // bytes

/** The sender of one message. */
export interface Sender {
  answer(frames: Frames): void;
  /** Closes the connection of a foreign process. */
  disconnect(): void;
}

/** Receives a message, which is valid during the call. Must not throw. */
export type RouterListener = (frames: Frames, sender: Sender) => void;

export interface Router extends Disposable {
  readonly port: number;
}

/** Resolves once it listens, on a port that the system chooses. */
export async function bindRouter(
  onMessage: RouterListener,
  ip = "127.0.0.1",
): Promise<Router> {
  const peers = new Set<ZmtpConnection>();
  const server = createServer((socket) => accept(socket, peers, onMessage));
  server.listen(0, ip);
  await once(server, "listening");
  server.on("error", () => {}); // a peer whose connection was not accepted tries again
  return {
    port: (server.address() as AddressInfo).port,
    /** Replies that are already queued are still sent. */
    [Symbol.dispose]() {
      server.close();
      for (const peer of peers) peer.finish();
      peers.clear();
    },
  };
}

function accept(
  socket: Socket,
  peers: Set<ZmtpConnection>,
  onMessage: RouterListener,
): void {
  const [oldest] = peers;
  if (peers.size >= PEERS_LIMIT && oldest !== undefined) {
    oldest.destroy(); // silent foreign processes must not keep a kernel out
    peers.delete(oldest);
  }
  socket.setNoDelay(true);
  const line = new PeerQueue();
  const flush = (): void => {
    if (line.length > 0) peer.writeFrom(line);
  };
  const sender: Sender = {
    answer: (frames) => line.push(frames),
    disconnect: () => {
      peer.destroy();
      peers.delete(peer);
    },
  };
  const peer = new ZmtpConnection(
    { type: "router", accepted: { socket, limit: REGISTRATION_LIMIT } },
    {
      ready: () => {},
      messages: (batch) => {
        for (const frames of batch) {
          onMessage(frames, sender);
          if (!peers.has(peer)) return;
        }
        flush();
      },
      drained: flush,
      ended: () => peers.delete(peer),
    },
  );
  peers.add(peer);
}
