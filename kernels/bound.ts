/**
 * Sockets that a kernel binds: as much of ZeroMQ's ROUTER and XPUB as the
 * Jupyter protocol needs, on our own ZMTP, so that a kernel of ours needs no
 * native package.
 */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { PeerQueue } from "../src/zmq/peer-queue.ts";
import { type Frames, LinkError } from "../src/zmq/transport.ts";
import { ZmtpConnection } from "../src/zmq/zmtp/connection.ts";

/** Most bytes of one message that a client may send. */
const MESSAGE_LIMIT = 1024 * 1024 * 1024;
/** Messages that wait to be heard, beyond which their sender waits. */
const MOST_UNHEARD = 1_000;
/** Bytes that may wait for one subscriber where nobody shall miss anything. */
const MOST_UNSENT = 64 * 1024 * 1024;
/** How often we look whether what was said has left. */
const LOOK_MS = 5;

/** One that is connected. */
interface Peer {
  readonly socket: Socket;
  readonly connection: ZmtpConnection;
  readonly line: PeerQueue;
  /** Of a ROUTER's peer: by which it is answered. */
  identity: Uint8Array;
  /** Of an XPUB's peer: how often it subscribed to what. */
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

/** What is too much for a peer that does not read is dropped. */
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

/** Where a socket is bound. */
export interface Place {
  readonly transport: string;
  readonly ip: string;
  /** Zero for any that is free; of `ipc` the end of the path. */
  readonly port: number;
}

abstract class Bound implements AsyncIterable<Frames> {
  protected readonly peers = new Set<Peer>();
  readonly #server = createServer((socket) => this.#accept(socket));
  readonly #type: "router" | "xpub";
  #unheard: Frames[] = [];
  #isPaused = false;
  #isClosed = false;
  #wake = () => {};

  constructor(type: "router" | "xpub") {
    this.#type = type;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Resolves with the port once it listens. */
  async bind({ transport, ip, port }: Place): Promise<number> {
    if (transport === "ipc") {
      const path = `${ip}-${port}`;
      rmSync(path, { force: true }); // of a kernel before, as libzmq does it
      this.#server.listen(path);
    } else {
      this.#server.listen(port, ip === "*" ? undefined : ip);
    }
    await once(this.#server, "listening");
    this.#server.on("error", () => {}); // one that cannot be accepted asks again
    const address = this.#server.address() as AddressInfo | string;
    return typeof address === "string" ? port : address.port;
  }

  /** Gives what was said so many milliseconds to leave. */
  async close(linger_ms: number): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#server.close();
    this.#wake();
    const end = performance.now() + linger_ms;
    while (performance.now() < end && ![...this.peers].every(isSent)) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
    for (const { connection } of this.peers) connection.finish();
    this.peers.clear();
  }

  /** What comes, in order, one at a time. Ends when it is closed. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Frames, void> {
    while (!this.#isClosed) {
      const taken = this.#unheard;
      this.#unheard = [];
      this.#resume();
      for (const frames of taken) {
        if (this.isClosed) return;
        yield frames;
      }
      if (this.#unheard.length > 0) continue;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
        if (this.isClosed) resolve();
      });
    }
  }

  /** Its frames are ours, and may be kept. */
  protected hear(frames: Frames): void {
    this.#unheard.push(frames);
    if (this.#unheard.length >= MOST_UNHEARD && !this.#isPaused) {
      this.#isPaused = true;
      for (const { socket } of this.peers) socket.pause();
    }
    this.#wake();
  }

  protected abstract ready(peer: Peer): void;
  protected abstract heard(peer: Peer, frames: Frames): void;
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
        for (const frames of batch) this.heard(one, frames);
      },
      ended: (one) => this.ended(one),
    });
    this.peers.add(peer);
    if (this.#isPaused) socket.pause();
  }
}

/** What it hears begins with the sender's identity, and so does what it sends: to nobody, where nobody has it. */
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
    this.#byIdentity.set(key, peer); // who comes back takes its place
    if (before === undefined) return;
    before.connection.destroy();
    this.peers.delete(before);
  }

  protected override heard({ identity }: Peer, frames: Frames): void {
    this.hear([identity, ...frames.map((frame) => Buffer.from(frame))]);
  }

  protected override ended(peer: Peer): void {
    super.ended(peer);
    const key = keyOf(peer.identity);
    if (this.#byIdentity.get(key) === peer) this.#byIdentity.delete(key);
  }
}

/** Hears subscriptions: a byte 1, or 0 where it ends, then the topic. */
export class XPublisher extends Bound {
  readonly #most: number;

  /** `most` messages wait for a subscriber that does not read, beyond which it misses them; 0: the publisher waits. */
  constructor(most: number) {
    super("xpub");
    this.#most = most;
  }

  /** To everybody who subscribed to a beginning of the first frame. */
  async send(frames: Frames): Promise<void> {
    const topic = keyOf(frames[0]);
    for (const peer of [...this.peers]) {
      if (![...peer.topics.keys()].some((one) => topic.startsWith(one))) {
        continue;
      }
      if (this.#most === 0) await this.#room(peer);
      else if (peer.line.length >= this.#most) continue;
      send(peer, frames);
    }
  }

  protected override ready(): void {}

  protected override heard({ topics }: Peer, [frame]: Frames): void {
    const [sign] = frame ?? [];
    if (frame === undefined || (sign !== 0 && sign !== 1)) return;
    const topic = keyOf(frame.subarray(1));
    const count = (topics.get(topic) ?? 0) + (sign === 1 ? 1 : -1);
    if (count > 0) topics.set(topic, count);
    else topics.delete(topic);
    this.hear([Buffer.from(frame)]);
  }

  async #room(peer: Peer): Promise<void> {
    while (peer.line.bytes > MOST_UNSENT && this.peers.has(peer)) {
      await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    }
  }
}

function keyOf(bytes: Uint8Array | undefined): string {
  return Buffer.from(bytes ?? []).toString("latin1");
}
