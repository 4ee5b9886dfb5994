/**
 * The sockets that a kernel binds: the part of ZeroMQ's ROUTER and XPUB that the
 * Jupyter protocol needs. They use this project's own ZMTP code, so that its
 * kernels need no native package.
 */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { PeerQueue } from "../src/zmq/peer-queue.ts";
import { type Frames, LinkError } from "../src/zmq/transport.ts";
import { ZmtpConnection } from "../src/zmq/zmtp/connection.ts";

/** The most bytes of one message from a client. */
const MESSAGE_LIMIT = 1024 * 1024 * 1024;
/** The most messages that wait to be read. Beyond it, reading from the clients stops. */
const MAX_UNREAD = 1_000;
/** The most bytes that may wait for one subscriber if no message may be dropped. */
const MAX_UNSENT_BYTES = 64 * 1024 * 1024;
/** The interval between two checks whether all messages were sent. */
const POLL_MS = 5;

/** A connected peer. */
interface Peer {
  readonly socket: Socket;
  readonly connection: ZmtpConnection;
  readonly line: PeerQueue;
  /** ROUTER only: the identity to which answers are addressed. */
  identity: Uint8Array;
  /** XPUB only: the number of subscriptions by topic. */
  readonly topics: Map<string, number>;
}

function peerOf(type: "router" | "xpub", socket: Socket, hooks: Hooks): Peer {
  socket.setNoDelay(true);
  const connection = new ZmtpConnection(
    { type, accepted: { socket, limit: MESSAGE_LIMIT } },
    {
      ready: (identity) => {
        peer.identity = identity;
        hooks.ready(peer);
      },
      messages: (batch) => hooks.messages(peer, batch),
      drained: () => flush(peer),
      ended: () => hooks.ended(peer),
    },
  );
  const peer: Peer = {
    socket,
    connection,
    line: new PeerQueue(),
    identity: new Uint8Array(),
    topics: new Map(),
  };
  return peer;
}

/** Sends a message. If too much waits for a peer that does not read, the message is dropped. */
function send(peer: Peer, frames: Frames): void {
  try {
    peer.line.push(frames);
  } catch (error) {
    if (!(error instanceof LinkError)) throw error;
    return;
  }
  flush(peer);
}

function flush({ line, connection }: Peer): void {
  while (line.length > 0 && connection.idle) connection.writeFrom(line);
}

function isSent({ line, connection }: Peer): boolean {
  return line.length === 0 && connection.unsent === 0;
}

interface Hooks {
  ready(peer: Peer): void;
  messages(peer: Peer, batch: readonly Frames[]): void;
  ended(peer: Peer): void;
}

/** The address that a socket binds. */
export interface BindAddress {
  readonly transport: string;
  readonly ip: string;
  /** 0 means any free port; for `ipc` it is the end of the path. */
  readonly port: number;
}

abstract class Bound implements AsyncIterable<Frames> {
  protected readonly peers = new Set<Peer>();
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #type: "router" | "xpub";
  #unread: Frames[] = [];
  #isPaused = false;
  #isClosed = false;
  #wake = () => {};

  constructor(type: "router" | "xpub") {
    this.#type = type;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves with the port when the socket listens. */
  async bind({ transport, ip, port }: BindAddress): Promise<number> {
    if (transport === "ipc") {
      const path = `${ip}-${port}`;
      rmSync(path, { force: true }); // removes the socket of an earlier kernel, as libzmq does
      this.#server.listen(path);
    } else {
      this.#server.listen(port, ip === "*" ? undefined : ip);
    }
    await once(this.#server, "listening");
    this.#server.on("error", () => {}); // a client whose connection failed will try again
    const address = this.#server.address() as AddressInfo | string;
    return typeof address === "string" ? port : address.port;
  }

  /** Waits up to `linger_ms` until all messages are sent, then closes the socket. */
  async close(linger_ms: number): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#server.close();
    this.#wake();
    const end = performance.now() + linger_ms;
    while (performance.now() < end && ![...this.peers].every(isSent)) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    for (const { connection } of this.peers) connection.finish();
    this.peers.clear();
  }

  /** The received messages in order, one at a time. Ends when the socket is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Frames, void> {
    while (!this.#isClosed) {
      const taken = this.#unread;
      this.#unread = [];
      this.#resume();
      for (const frames of taken) {
        if (this.isClosed) return;
        yield frames;
      }
      if (this.#unread.length > 0) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.isClosed) resolve();
      });
    }
  }

  /** Queues a received message. The frames must be copies that may be kept. */
  protected enqueue(frames: Frames): void {
    this.#unread.push(frames);
    if (this.#unread.length >= MAX_UNREAD && !this.#isPaused) {
      this.#isPaused = true;
      for (const { socket } of this.peers) socket.pause();
    }
    this.#wake();
  }

  protected abstract ready(peer: Peer): void;
  protected abstract received(peer: Peer, frames: Frames): void;
  protected ended(peer: Peer): void {
    this.peers.delete(peer);
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    for (const { socket } of this.peers) socket.resume();
  }

  #accept(socket: Socket): void {
    const peer = peerOf(this.#type, socket, {
      ready: (one) => this.ready(one),
      messages: (one, batch) => {
        for (const frames of batch) this.received(one, frames);
      },
      ended: (one) => this.ended(one),
    });
    this.peers.add(peer);
    if (this.#isPaused) socket.pause();
  }
}

/** The first frame of each received and each sent message is the peer's identity. A message to an unknown identity is dropped. */
export class Router extends Bound {
  readonly #byIdentity = new Map<string, Peer>();
  #last = 0;

  constructor() {
    super("router");
  }

  send([identity, ...frames]: Frames): Promise<void> {
    const peer = this.#byIdentity.get(keyOf(identity));
    if (peer !== undefined) send(peer, frames);
    return Promise.resolve();
  }

  protected override ready(peer: Peer): void {
    if (peer.identity.length === 0) {
      this.#last += 1;
      peer.identity = Buffer.alloc(5);
      Buffer.from(
        peer.identity.buffer,
        peer.identity.byteOffset,
        5,
      ).writeUInt32BE(this.#last, 1);
    }
    const key = keyOf(peer.identity);
    const before = this.#byIdentity.get(key);
    this.#byIdentity.set(key, peer); // a peer that reconnects replaces its old connection
    if (before === undefined) return;
    before.connection.destroy();
    this.peers.delete(before);
  }

  protected override received({ identity }: Peer, frames: Frames): void {
    this.enqueue([identity, ...frames.map((frame) => Buffer.from(frame))]);
  }

  protected override ended(peer: Peer): void {
    super.ended(peer);
    const key = keyOf(peer.identity);
    if (this.#byIdentity.get(key) === peer) this.#byIdentity.delete(key);
  }
}

/** The received messages are subscriptions: one byte, 1 to subscribe or 0 to unsubscribe, then the topic. */
export class XPublisher extends Bound {
  readonly #limit: number;

  /** At most `limit` messages wait for a subscriber that does not read; further messages are dropped for it. 0: the publisher waits instead. */
  constructor(limit: number) {
    super("xpub");
    this.#limit = limit;
  }

  /** Sends to every peer that subscribed to a prefix of the first frame. */
  async send(frames: Frames): Promise<void> {
    const topic = keyOf(frames[0]);
    for (const peer of [...this.peers]) {
      if (![...peer.topics.keys()].some((one) => topic.startsWith(one))) {
        continue;
      }
      if (this.#limit === 0) await this.#waitForRoom(peer);
      else if (peer.line.length >= this.#limit) continue;
      send(peer, frames);
    }
  }

  protected override ready(): void {}

  protected override received({ topics }: Peer, [frame]: Frames): void {
    const [sign] = frame ?? [];
    if (frame === undefined || (sign !== 0 && sign !== 1)) return;
    const topic = keyOf(frame.subarray(1));
    const count = (topics.get(topic) ?? 0) + (sign === 1 ? 1 : -1);
    if (count > 0) topics.set(topic, count);
    else topics.delete(topic);
    this.enqueue([Buffer.from(frame)]);
  }

  async #waitForRoom(peer: Peer): Promise<void> {
    while (peer.line.bytes > MAX_UNSENT_BYTES && this.peers.has(peer)) {
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }
}

function keyOf(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString("latin1");
}
