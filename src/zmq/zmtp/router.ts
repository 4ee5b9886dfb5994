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
  disconnect(): void;
}

/** Hears a message, which is valid for the time of the call. Must not throw. */
export type RouterListener = (frames: Frames, sender: Sender) => void;

export interface Router extends Disposable {
  readonly port: number;
}

/** Resolves once it listens, on a port that the system chooses. */
export async function bindRouter(
  hear: RouterListener,
  ip = "127.0.0.1",
): Promise<Router> {
  const peers = new Set<ZmtpConnection>();
  const server = createServer((socket) => accept(socket, peers, hear));
  server.listen(0, ip);
  await once(server, "listening");
  server.on("error", () => {}); // one that cannot be accepted asks again
  return {
    port: (server.address() as AddressInfo).port,
    /** What was answered still goes out. */
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
  hear: RouterListener,
): void {
  const [oldest] = peers;
  if (peers.size >= PEERS_LIMIT && oldest !== undefined) {
    oldest.destroy(); // strangers that say nothing keep no kernel out
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
    { type: "router", accepted: { socket, limit: MESSAGE_LIMIT } },
    {
      ready: () => {},
      messages: (batch) => {
        for (const frames of batch) {
          hear(frames, sender);
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
