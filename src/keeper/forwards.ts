/**
 * Connections to ports of the kernels' place, many over one stream. Both ends of
 * the stream have one of these.
 *
 * Each connection has a window in each direction: the bytes that a side may send
 * before the other side has taken some. So a connection that is not read stalls
 * itself only, and nothing waits in memory beyond its window. The numbers of
 * connections grow and are never used again in a stream. A connection does not
 * outlive the stream.
 */
import { Socket } from "node:net";
import { Duplex } from "node:stream";
import type { FrameStream } from "./frame-stream.ts";
import {
  type Frame,
  frameKinds,
  frameOf,
  objectOf,
  readU64,
  StreamError,
  writeU64,
} from "./frames.ts";
import { fromWire, toWire, type WireError } from "./wire-error.ts";

/** Bytes that a side may send before the other side has taken some. Part of the protocol. */
export const WINDOW = 256 * 1024;
/** The most connections of a stream. */
export const CONNECTIONS_LIMIT = 128;
/** Bytes that were taken are reported in portions of at least this size. */
const CREDIT = WINDOW / 4;
/** The most bytes of one frame, which is copied. */
const PART = 32 * 1024;
/** Chunks that wait are joined from this number on. */
const CHUNKS = 64;

export interface ForwardsOptions {
  readonly stream: FrameStream;
  /** Called when a connection has something to send: `turn` is due. */
  readonly wake: () => void;
  /** In a keeper: connects to a port of the run's place. */
  readonly connect?: (run_id: string, port: number) => Promise<Duplex>;
}

interface Opening {
  readonly resolve: (connection: Duplex) => void;
  readonly reject: (error: Error) => void;
}

export class Forwards {
  readonly #options: ForwardsOptions;
  readonly #connections = new Map<number, Connection>();
  /** Connections that have something to send, and may. */
  readonly #ready = new Set<Connection>();
  /** In a server: connections that the keeper has not answered. */
  readonly #openings = new Map<number, Opening>();
  /** The highest number that was given to a connection. */
  #last = 0;
  /** In a keeper: connections of its place that are open or are being opened. */
  #places = 0;
  #isClosed = false;

  constructor(options: ForwardsOptions) {
    this.#options = options;
  }

  /** Server: resolves when the keeper has connected. Rejects with the keeper's failure, or with the error of `close`. */
  open(run_id: string, port: number): Promise<Duplex> {
    const id = (this.#last += 1);
    this.#connection(id);
    const where = Buffer.alloc(18);
    where.write(run_id, 0, "hex");
    where.writeUInt16LE(port, 16);
    return new Promise((resolve, reject) => {
      this.#openings.set(id, { resolve, reject });
      this.#send(frameKinds.open, id, where);
    });
  }

  /** Takes a frame of a connection; false if it is another one. Throws a `StreamError`. */
  received({ kind, body, isOwn }: Frame): boolean {
    if (!KINDS.has(kind)) return false;
    const id = readU64(body, 0);
    if (kind === frameKinds.open) this.#accept(id, body);
    if (id === 0 || id > this.#last) {
      throw new StreamError("a connection that was not opened");
    }
    const connection = this.#connections.get(id);
    if (connection === undefined) return true; // it was closed here meanwhile
    switch (kind) {
      case frameKinds.data: {
        const bytes = body.subarray(8);
        connection.receive(isOwn ? bytes : Buffer.from(bytes));
        break;
      }
      case frameKinds.credit:
        connection.grant(body.readUInt32LE(8));
        break;
      case frameKinds.end:
        connection.receiveEnd();
        break;
      case frameKinds.reset:
        this.#opened(id)?.reject(new Error("the keeper has closed it"));
        connection.lose(
          `the connection was reset: ${body.toString("utf8", 8) || "closed"}`,
        );
        break;
      case frameKinds.opened:
        this.#opened(id)?.resolve(connection);
        break;
      case frameKinds.refused: {
        connection.abandon();
        const error = objectOf(body.subarray(8)) as unknown as WireError;
        this.#opened(id)?.reject(fromWire(error));
        break;
      }
    }
    return true;
  }

  /** Whether a connection has something to send. */
  get isReady(): boolean {
    return this.#ready.size > 0;
  }

  /** Sends some of it, each connection in turn, but lets little wait: what is sent by others in between must not wait for long. */
  async turn(): Promise<void> {
    const { stream } = this.#options;
    if (stream.isBusy) await stream.drained();
    stream.together(() => {
      for (const connection of this.#ready) {
        if (stream.isBusy) return;
        this.#ready.delete(connection);
        connection.sendSome(); // if there is more, it goes to the end of the set
      }
    });
  }

  /** The stream has ended, and all connections with it. */
  close(error: Error): void {
    this.#isClosed = true;
    for (const { reject } of this.#openings.values()) reject(error);
    for (const [id, connection] of [...this.#connections]) {
      if (this.#openings.delete(id)) connection.abandon();
      else connection.lose(error.message);
    }
    this.#ready.clear();
  }

  #opened(id: number): Opening | undefined {
    const opening = this.#openings.get(id);
    this.#openings.delete(id);
    return opening;
  }

  /** Keeper: the server opens a connection. */
  #accept(id: number, body: Buffer): void {
    const { connect } = this.#options;
    if (connect === undefined || id <= this.#last || body.length !== 26) {
      throw new StreamError("a connection that cannot be opened");
    }
    this.#last = id;
    const run_id = body.toString("hex", 8, 24);
    const port = body.readUInt16LE(24);
    void this.#join(this.#connection(id), async () => {
      if (this.#places > CONNECTIONS_LIMIT) {
        throw new Error(
          `${CONNECTIONS_LIMIT} connections are open, and no more may be`,
        );
      }
      return connect(run_id, port);
    });
  }

  /** Keeper: joins a connection with one of the place. Never rejects. */
  async #join(
    connection: Connection,
    connect: () => Promise<Duplex>,
  ): Promise<void> {
    this.#places += 1;
    try {
      const place = await connect();
      place.once("close", () => (this.#places -= 1));
      if (connection.destroyed) {
        discard(place);
        return;
      }
      this.#send(frameKinds.opened, connection.id);
      join(connection, place);
    } catch (error) {
      this.#places -= 1;
      connection.abandon();
      const why = Buffer.from(JSON.stringify(toWire(error)));
      this.#send(frameKinds.refused, connection.id, why);
    }
  }

  #connection(id: number): Connection {
    const connection = new Connection(id, {
      send: (kind, ...body) => this.#send(kind, id, ...body),
      ready: () => {
        if (this.#isClosed) return;
        this.#ready.add(connection);
        this.#options.wake();
      },
      gone: () => {
        this.#ready.delete(connection);
        this.#connections.delete(id);
      },
    });
    this.#connections.set(id, connection);
    return connection;
  }

  #send(kind: number, id: number, ...body: Buffer[]): void {
    const number = Buffer.allocUnsafe(8);
    writeU64(number, 0, id);
    this.#options.stream.write(frameOf(kind, number, ...body));
  }
}

const KINDS: ReadonlySet<number> = new Set([
  frameKinds.open,
  frameKinds.opened,
  frameKinds.refused,
  frameKinds.data,
  frameKinds.credit,
  frameKinds.end,
  frameKinds.reset,
]);

interface ConnectionHooks {
  readonly send: (kind: number, ...body: Buffer[]) => void;
  /** It has something to send, and may. */
  readonly ready: () => void;
  readonly gone: () => void;
}

/** One end of a connection. What is read from it was written at the other end, and half of it can be closed. */
class Connection extends Duplex {
  readonly id: number;
  readonly #hooks: ConnectionHooks;
  /** What is being sent. */
  #sending:
    | { readonly bytes: Buffer; sent: number; readonly done: () => void }
    | undefined;
  /** Bytes that may be sent. */
  #window = WINDOW;
  #hasSentEnd = false;
  /** What was received, and is not wanted yet. */
  #chunks: Buffer[] = [];
  #isWanted = false;
  /** Bytes that the peer may send. */
  #granted = WINDOW;
  /** Bytes that were taken, and of which the peer does not know yet. */
  #owed = 0;
  #hasReceivedEnd = false;
  /** Whether the peer has no use for a word that it is closed. */
  #isLost = false;

  constructor(id: number, hooks: ConnectionHooks) {
    super();
    this.id = id;
    this.#hooks = hooks;
    this.on("error", () => {}); // it may be lost before anybody listens
  }

  /** Whether both ends have sent everything. */
  get isComplete(): boolean {
    return this.#hasSentEnd && this.#hasReceivedEnd;
  }

  /** Sends what one frame holds and the peer allows. */
  sendSome(): void {
    const sending = this.#sending;
    if (sending === undefined || this.#window === 0 || this.destroyed) return;
    const { bytes, sent, done } = sending;
    const size = Math.min(PART, this.#window, bytes.length - sent);
    this.#hooks.send(frameKinds.data, bytes.subarray(sent, sent + size));
    this.#window -= size;
    sending.sent += size;
    if (sending.sent === bytes.length) {
      this.#sending = undefined;
      done();
    } else if (this.#window > 0) this.#hooks.ready();
  }

  /** The peer has taken so many bytes. Throws a `StreamError`. */
  grant(bytes: number): void {
    this.#window += bytes;
    if (this.#window > WINDOW) throw new StreamError("a window too large");
    if (this.#sending !== undefined) this.#hooks.ready();
  }

  /** Throws a `StreamError`. */
  receive(bytes: Buffer): void {
    this.#granted -= bytes.length;
    if (this.#hasReceivedEnd || bytes.length === 0 || this.#granted < 0) {
      throw new StreamError("data that a connection may not have");
    }
    this.#chunks.push(bytes);
    if (this.#chunks.length >= CHUNKS)
      this.#chunks = [Buffer.concat(this.#chunks)];
    this.#pass();
  }

  /** Throws a `StreamError`. */
  receiveEnd(): void {
    if (this.#hasReceivedEnd) throw new StreamError("a second end");
    this.#hasReceivedEnd = true;
    this.#pass();
  }

  /** It cannot go on. A connection that is complete stays readable. */
  lose(why: string): void {
    this.#isLost = true;
    if (this.isComplete) return;
    this.destroy(Object.assign(new Error(why), { code: "ECONNRESET" }));
  }

  /** It was never open. */
  abandon(): void {
    this.#isLost = true;
    this.destroy();
  }

  override _write(bytes: Buffer, _: string, done: () => void): void {
    if (bytes.length === 0) {
      done();
      return;
    }
    this.#sending = { bytes, sent: 0, done };
    if (this.#window > 0) this.#hooks.ready();
  }

  override _final(done: () => void): void {
    this.#hasSentEnd = true;
    this.#hooks.send(frameKinds.end);
    done();
  }

  override _read(): void {
    this.#isWanted = true;
    this.#pass();
  }

  override _destroy(
    error: Error | null,
    done: (error: Error | null) => void,
  ): void {
    if (!this.#isLost && !this.isComplete) {
      const { code, message } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
      this.#hooks.send(frameKinds.reset, Buffer.from(code ?? message ?? ""));
    }
    this.#chunks = [];
    this.#hooks.gone();
    done(error);
  }

  /** Passes on what was received, as far as it is wanted. */
  #pass(): void {
    while (this.#isWanted) {
      const bytes = this.#chunks.shift();
      if (bytes === undefined) {
        if (!this.#hasReceivedEnd) return;
        this.#isWanted = false;
        this.push(null);
        return;
      }
      this.#isWanted = false; // `push` may call `_read`
      if (this.push(bytes)) this.#isWanted = true;
      this.#taken(bytes.length);
    }
  }

  #taken(bytes: number): void {
    this.#owed += bytes;
    if (this.#owed < CREDIT || this.#hasReceivedEnd || this.destroyed) return;
    const size = Buffer.allocUnsafe(4);
    size.writeUInt32LE(this.#owed, 0);
    this.#granted += this.#owed;
    this.#owed = 0;
    this.#hooks.send(frameKinds.credit, size);
  }
}

/** What one end reads, the other one sends. If one breaks, the other does. */
function join(connection: Connection, place: Duplex): void {
  place.on("error", (error) => connection.destroy(error));
  place.on("close", () => {
    if (!connection.writableEnded) connection.destroy();
  });
  connection.on("close", () => {
    if (!connection.isComplete) discard(place);
  });
  place.pipe(connection);
  connection.pipe(place);
}

/** The program at the other end sees an error, and not the end of what was sent. */
function discard(place: Duplex): void {
  place.on("error", () => {});
  if (place instanceof Socket) place.resetAndDestroy();
  else place.destroy();
}
