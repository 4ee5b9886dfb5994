/**
 * One connection to a ZMTP 3 peer, from `connect` or from its acceptance to its
 * end. It is never used again.
 *
 * The listener receives messages only after `ready`, and nothing after `ended`.
 */
import { connect, type Socket } from "node:net";
import { toAddress } from "../link-options.ts";
import type { Frames, LinkOptions } from "../transport.ts";
import { BadPeer } from "./bad-peer.ts";
import { Decoder, type ZmtpCommand } from "./decoder.ts";
import { Encoder } from "./encoder.ts";
import {
  checkGreeting,
  checkReady,
  greeting,
  GREETING_SIZE,
  GREETING_START,
  type SocketProperties,
  ready,
  peerError,
} from "./handshake.ts";

/** libzmq's timeout for a peer that has accepted the connection and sends nothing. */
const HANDSHAKE_TIMEOUT_MS = 30_000;

/** The most unread bytes of answers to pings. Beyond it, pings are not answered. */
const UNREAD_PONGS_LIMIT = 64 * 1024; // bytes

/**
 * The time for one peer in one turn of the event loop. The system delivers some
 * four megabytes of a flood at once, which take a hundred milliseconds. Without
 * this limit, clients that connect meanwhile wait for several such turns.
 */
const TURN_MS = 8;

/** The most messages, or commands, that are decoded before a look at the clock. */
const BATCH_LIMIT = 64;

/** The same limit when the first message could not be taken in bulk; it doubles each time this repeats. */
const ONE_BY_ONE = 8;

/** Fewer bytes than this of an incomplete message stay where they are until it is complete and can be taken in bulk. Less than a region of the decoder. */
const CUT_LIMIT = 24 * 1024;

/** Pings that are answered in one read. One answer is enough for the peer. */
const PONGS_LIMIT = 16;

/** Shared by all connections: its output is written, or kept for the writer, before the next use. */
const encoder = new Encoder();

export interface ConnectionEvents {
  /** The handshake is complete. `identity` is the peer's identity, usually empty. */
  ready(identity: Uint8Array): void;
  messages(batch: readonly Frames[]): void;
  /** A message was skipped. If this member is absent, such a message ends the connection. */
  tooLarge?(size: number): void;
  /** All written bytes are with the operating system. */
  drained(): void;
  /** The last event: the connection failed or was lost, or the peer is a `BadPeer`. */
  ended(error: Error): void;
}

/** The peer to which we connect, or the socket of a peer that has connected. */
export type Peer =
  | Pick<LinkOptions, "endpoint" | "backpressure" | "bulk" | "limit">
  | { readonly accepted: Accepted };

export interface Accepted {
  readonly socket: Socket;
  /** The most bytes of one message, because the peer is unknown. */
  readonly limit: number;
}

export class ZmtpConnection {
  readonly #options: SocketProperties;
  readonly #listener: ConnectionEvents;
  readonly #decoder: Decoder;
  readonly #socket: Socket;
  readonly #handshakeTimer: NodeJS.Timeout;
  readonly #backpressure: LinkOptions["backpressure"];
  readonly #bulk: LinkOptions["bulk"];
  #hasGreeted = false;
  #turnBegan: number | undefined;
  /** Reading has stopped until the next turn, or until the receiver is ready. */
  #isStopped = false;
  /** The decoder still has unread bytes. */
  #hasMore = false;
  #pongs = 0;
  #oneByOne = ONE_BY_ONE;
  #awaitsReceiver = false;
  #phase: "greeting" | "introduction" | "traffic" | "ended" = "greeting";

  constructor(options: SocketProperties & Peer, listener: ConnectionEvents) {
    this.#options = options;
    this.#listener = listener;
    this.#backpressure =
      "accepted" in options ? undefined : options.backpressure;
    this.#bulk = "accepted" in options ? undefined : options.bulk;
    this.#decoder = new Decoder(
      "accepted" in options ? options.accepted.limit : options.limit,
      listener.tooLarge?.bind(listener),
    );
    this.#handshakeTimer = setTimeout(() => {
      this.#end(new Error("The peer did not complete the ZMTP handshake"));
    }, HANDSHAKE_TIMEOUT_MS);
    this.#socket =
      "accepted" in options
        ? options.accepted.socket
        : connect({
            ...toAddress(options.endpoint),
            noDelay: true,
            onread: {
              buffer: () => {
                this.#bulk?.refilled(); // the waiting bytes may move
                return this.#decoder.region();
              },
              callback: (size) => {
                this.#turnBegan ??= this.#beginTurn();
                this.#decoder.filled(size);
                this.#bulk?.refilled();
                this.#pongs = 0;
                return this.#deliver(this.#turnBegan);
              },
            },
          });
    if ("accepted" in options) {
      this.#socket.on("data", (chunk: Buffer) => this.#onChunk(chunk));
      this.#write([greeting().subarray(0, GREETING_START)]);
    }
    this.#socket
      .on("connect", () => this.#onConnect())
      .on("end", () => this.#end(new Error("The peer closed the connection")))
      .on("error", (error) => this.#end(error))
      .on("close", () => this.#end(new Error("The connection was closed")));
  }

  /** Written bytes that the operating system has not accepted yet. */
  get unsent(): number {
    return this.#phase === "ended" ? 0 : this.#socket.writableLength;
  }

  /** Whether read bytes are not delivered yet, or reading has stopped. */
  get isReceiving(): boolean {
    return (
      this.#phase === "traffic" && (this.#isStopped || this.#decoder.isHolding)
    );
  }

  /** Whether a write is possible and all earlier bytes are with the operating system. */
  get idle(): boolean {
    return (
      this.#phase === "traffic" &&
      this.#socket.writable && // false after an error that is not yet reported
      this.#socket.writableLength === 0
    );
  }

  /** Writes the next messages of the queue. The caller writes the rest after `drained`. */
  writeFrom(line: Parameters<Encoder["encode"]>[0]): void {
    this.#write(encoder.encode(line));
  }

  /** Ends the connection at once. The listener receives no more events. */
  destroy(): void {
    this.#phase = "ended";
    clearTimeout(this.#handshakeTimer);
    this.#socket.destroy();
  }

  /** Ends the connection when all written bytes are with the operating system. The listener receives no more events. */
  finish(): void {
    this.#phase = "ended";
    clearTimeout(this.#handshakeTimer);
    this.#socket.destroySoon();
  }

  /** Bytes of an accepted socket, which does not read into the decoder's memory. */
  #onChunk(chunk: Buffer): void {
    for (let at = 0; at < chunk.length && this.#phase !== "ended";) {
      const size = chunk.copy(this.#decoder.region(), 0, at);
      at += size;
      this.#decoder.filled(size);
      this.#pongs = 0;
      while (!this.#isEnded() && !this.#readBatch());
    }
  }

  #onConnect(): void {
    if (this.#phase === "ended") return;
    const { localPort, remotePort, localAddress, remoteAddress } = this.#socket;
    const isItself =
      localPort !== undefined &&
      localPort === remotePort &&
      localAddress === remoteAddress;
    if (isItself) {
      // If no process listens, TCP may connect a port to itself. That would keep the kernel from binding it.
      this.#socket.resetAndDestroy();
      this.#end(new Error("No process listens on the port yet"));
      return;
    }
    this.#write([greeting().subarray(0, GREETING_START)]);
  }

  #beginTurn(): number {
    setImmediate(this.#endTurn);
    return performance.now();
  }

  readonly #endTurn = (): void => {
    this.#turnBegan = undefined;
    this.#resume();
  };

  #awaitReceiver(backpressure: Promise<unknown> | undefined): void {
    if (backpressure === undefined) return;
    this.#awaitsReceiver = true;
    this.#decoder.keep(); // the receiver may still use the last frames
    void backpressure.then(() => {
      this.#awaitsReceiver = false;
      this.#resume();
    });
  }

  #resume(): void {
    if (this.#awaitsReceiver || this.#turnBegan !== undefined) return;
    if (!this.#isStopped || this.#phase === "ended") return;
    if (this.#hasMore) {
      this.#turnBegan = this.#beginTurn();
      if (!this.#deliver(this.#turnBegan)) return;
    }
    this.#isStopped = false;
    this.#socket.resume();
  }

  /** Delivers the read bytes, until none is left, the turn is over, or the receiver is not ready. True: the socket can be read again. */
  #deliver(began: number): boolean {
    do {
      this.#hasMore = !this.#readBatch();
      this.#awaitReceiver(this.#backpressure?.());
      const isOver = performance.now() - began > TURN_MS;
      this.#isStopped = isOver || this.#awaitsReceiver;
    } while (this.#hasMore && !this.#isStopped && !this.#isEnded());
    return !this.#isStopped;
  }

  /** False: more bytes can be decoded. Any error, also of the listener, ends the connection. */
  #readBatch(): boolean {
    const batch: Frames[] = [];
    let failure: Error | undefined;
    let isAll = true;
    try {
      isAll = this.#read(batch);
    } catch (error) {
      failure = toConnectionError(error);
    }
    try {
      if (batch.length > 0 && this.#phase === "traffic") {
        this.#listener.messages(batch);
      }
    } catch (error) {
      failure ??= toConnectionError(error);
    }
    if (failure !== undefined) this.#end(failure);
    return isAll;
  }

  #read(batch: Frames[]): boolean {
    if (this.#phase === "greeting" && !this.#readGreeting()) return true;
    const most = this.#takeInBulk();
    if (most === 0) return true;
    for (let commands = 0; commands < BATCH_LIMIT && !this.#isEnded();) {
      const command = this.#decoder.read(batch, most);
      if (this.#phase === "introduction" && batch.length > 0) {
        throw new BadPeer("protocol", "The peer did not send READY first");
      }
      if (command === undefined) return batch.length < most;
      commands += 1;
      if (this.#phase === "introduction") this.#onReadyCommand(command);
      else this.#onCommand(command);
    }
    return false;
  }

  /** Takes messages in bulk. Returns the number of messages to read one by one before the next attempt; 0 if more bytes must arrive first. */
  #takeInBulk(): number {
    if (this.#bulk === undefined || this.#phase !== "traffic")
      return BATCH_LIMIT;
    if (!this.#decoder.isBetween) return 1;
    const read = this.#decoder.peek();
    const taken = read.length > 0 ? this.#bulk.take(read) : 0;
    this.#decoder.skip(taken);
    if (this.#bulk.isCut && read.length - taken < CUT_LIMIT) return 0;
    const most = taken > 0 ? 1 : this.#oneByOne;
    this.#oneByOne = taken > 0 ? ONE_BY_ONE : Math.min(2 * most, BATCH_LIMIT);
    return most;
  }

  /** A call, because a listener may end the connection. */
  #isEnded(): boolean {
    return this.#phase === "ended";
  }

  #readGreeting(): boolean {
    const bytes = this.#decoder.peek();
    checkGreeting(bytes);
    if (bytes.length < GREETING_START) return false;
    if (!this.#hasGreeted) {
      this.#hasGreeted = true;
      this.#write([greeting().subarray(GREETING_START)]);
    }
    if (bytes.length < GREETING_SIZE) return false;
    this.#decoder.skip(GREETING_SIZE);
    this.#phase = "introduction";
    this.#write(encoder.command("READY", ready(this.#options)));
    return true;
  }

  #onReadyCommand({ name, body }: ZmtpCommand): void {
    if (name === "ERROR") throw peerError(body);
    if (name !== "READY") {
      throw new BadPeer("protocol", "The peer did not send READY first");
    }
    const identity = checkReady(body, this.#options.type);
    clearTimeout(this.#handshakeTimer);
    this.#phase = "traffic";
    this.#listener.ready(identity);
  }

  #onCommand({ name, body }: ZmtpCommand): void {
    if (name !== "PING" || this.unsent > UNREAD_PONGS_LIMIT) return;
    this.#pongs += 1;
    if (this.#pongs > PONGS_LIMIT) return;
    // Two bytes of time to live, then up to 16 bytes that the answer repeats.
    this.#write(encoder.command("PONG", body.subarray(2, 18)));
  }

  #write(pieces: readonly Uint8Array[]): void {
    const socket = this.#socket;
    const last = pieces.length - 1;
    if (last > 0) socket.cork();
    for (let i = 0; i < last; i++) socket.write(pieces[i] ?? "");
    socket.write(pieces[last] ?? "", this.#drained);
    if (last > 0) socket.uncork();
    // Usually the operating system accepts all bytes at once.
    if (socket.writableLength === 0) encoder.reuse();
    else encoder.keep();
  }

  readonly #drained = (error?: Error | null): void => {
    if (this.#phase === "traffic" && !error) this.#listener.drained();
  };

  #end(error: Error): void {
    if (this.#phase === "ended") return;
    this.destroy();
    this.#listener.ended(error);
  }
}

/** The error for a connection. An error that is not a `BadPeer` is a fault of this program; only its name is reported, because its message may quote the peer. */
function toConnectionError(error: unknown): Error {
  if (error instanceof BadPeer) return error;
  const name = error instanceof Error ? error.name : typeof error;
  return new BadPeer(
    "protocol",
    `The peer's bytes caused an internal error: ${name}`,
  );
}
