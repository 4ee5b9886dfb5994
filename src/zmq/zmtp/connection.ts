/**
 * One connection to a ZMTP 3 peer, from `connect`, or from the moment in which
 * it was accepted, to its end; it is never used again.
 *
 * Messages are heard only after `ready`, and nothing is after `ended`.
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

/** As long as libzmq gives a peer that has accepted and says nothing. */
const HANDSHAKE_TIMEOUT_MS = 30_000;

/** A peer that does not read our answers to its pings gets no more of them. */
const UNREAD_PONGS_LIMIT = 64 * 1024; // bytes

/**
 * How long a peer is listened to in one turn of the event loop. The system hands
 * on some four megabytes of a flood at once, which take a hundred milliseconds;
 * clients that connect meanwhile wait for several such turns.
 */
const TURN_MS = 8;

/** Messages, or commands, that are taken out of what was read before we look at the clock. */
const BATCH_LIMIT = 64;

/** The same where the first could not be taken in bulk; twice as many each time that it is so again. */
const ONE_BY_ONE = 8;

/** Unread bytes of a message that we leave where they are until it is whole: then it is taken in bulk. Less than a region of the decoder. */
const CUT_LIMIT = 24 * 1024;

/** Pings that are answered in one read: any answer tells the peer that we are there. */
const PONGS_LIMIT = 16;

/** One for all: what it encodes is written, or left to the writer, before the next use. */
const encoder = new Encoder();

export interface ConnectionEvents {
  /** The handshake is complete. `identity`: what the peer calls itself, mostly nothing. */
  ready(identity: Uint8Array): void;
  messages(batch: readonly Frames[]): void;
  /** A message was passed over. Where this is absent, it is the end of the connection. */
  tooLarge?(size: number): void;
  /** Everything written so far is with the operating system. */
  drained(): void;
  /** Last: the connection failed, was lost, or is a `BadPeer`'s. */
  ended(error: Error): void;
}

/** To whom we connect, or who has connected to us. */
export type Peer =
  | Pick<LinkOptions, "endpoint" | "backpressure" | "bulk" | "limit">
  | { readonly accepted: Accepted };

export interface Accepted {
  readonly socket: Socket;
  /** Most bytes of one message: we do not know whom we listen to. */
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
  /** With more to be read: for the next turn, or for our side to catch up. */
  #isStopped = false;
  /** Some of that is in our memory already. */
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
                this.#bulk?.refilled(); // what waits there may move
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

  /** Bytes that were written and that the operating system has not taken yet. */
  get unsent(): number {
    return this.#phase === "ended" ? 0 : this.#socket.writableLength;
  }

  /** It takes a write, and all before it is with the operating system. */
  get idle(): boolean {
    return (
      this.#phase === "traffic" &&
      this.#socket.writable && // not so once an error is known that is yet to be told
      this.#socket.writableLength === 0
    );
  }

  /** Writes the next messages of the line; the rest is for when these are `drained`. */
  writeFrom(line: Parameters<Encoder["encode"]>[0]): void {
    this.#write(encoder.encode(line));
  }

  /** Ends it without a word: the listener hears nothing more. */
  destroy(): void {
    this.#phase = "ended";
    clearTimeout(this.#handshakeTimer);
    this.#socket.destroy();
  }

  /** Ends it once what was written is with the operating system; the listener hears nothing more. */
  finish(): void {
    this.#phase = "ended";
    clearTimeout(this.#handshakeTimer);
    this.#socket.destroySoon();
  }

  /** From a socket that was not made to read into our memory. */
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
      // With nobody there, TCP may connect a port to itself, and so keep it from the kernel.
      this.#socket.resetAndDestroy();
      this.#end(new Error("Nobody listens there yet"));
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
    this.#decoder.keep(); // our side may still be at what it was given
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

  /** Hands over what was read, until all of it is, the turn is over or our side is behind. True: more may be read. */
  #deliver(began: number): boolean {
    do {
      this.#hasMore = !this.#readBatch();
      this.#awaitReceiver(this.#backpressure?.());
      const isOver = performance.now() - began > TURN_MS;
      this.#isStopped = isOver || this.#awaitsReceiver;
    } while (this.#hasMore && !this.#isStopped && !this.#isEnded());
    return !this.#isStopped;
  }

  /** False: there is more. What is thrown is the end of the connection, whoever throws it. */
  #readBatch(): boolean {
    const batch: Frames[] = [];
    let failure: Error | undefined;
    let isAll = true;
    try {
      isAll = this.#read(batch);
    } catch (error) {
      failure = toFailure(error);
    }
    try {
      if (batch.length > 0 && this.#phase === "traffic") {
        this.#listener.messages(batch);
      }
    } catch (error) {
      failure ??= toFailure(error);
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
        throw new BadPeer("protocol", "The peer began without an introduction");
      }
      if (command === undefined) return batch.length < most;
      commands += 1;
      if (this.#phase === "introduction") this.#onReadyCommand(command);
      else this.#onCommand(command);
    }
    return false;
  }

  /** Takes what can be taken in bulk. Returns how many messages to read one by one before it is tried again; 0 where more must come first. */
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

  /** As a call, because listeners may end it. */
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
      throw new BadPeer("protocol", "The peer began without an introduction");
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
    // Two bytes of time to live, then up to 16 that the answer repeats.
    this.#write(encoder.command("PONG", body.subarray(2, 18)));
  }

  #write(pieces: readonly Uint8Array[]): void {
    const socket = this.#socket;
    const last = pieces.length - 1;
    if (last > 0) socket.cork();
    for (let i = 0; i < last; i++) socket.write(pieces[i] ?? "");
    socket.write(pieces[last] ?? "", this.#drained);
    if (last > 0) socket.uncork();
    // Mostly the operating system takes it all at once.
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

/** What was thrown while a peer's bytes were read. Where it is no `BadPeer`, it is a bug of ours: told by its name, for its message may quote the peer. */
function toFailure(error: unknown): Error {
  if (error instanceof BadPeer) return error;
  const name = error instanceof Error ? error.name : typeof error;
  return new BadPeer("protocol", `What the peer sent made us fail: ${name}`);
}
