/**
 * A session's messages over a WebSocket that has an owner: one client at a
 * time, and a newcomer displaces it.
 *
 * kernel → client: what no owner has heard yet, then what is being said. What
 * was sent and not known to have arrived when a connection broke is sent again
 * to the next owner; pings, which travel in line with the messages, tell how
 * far the client has come. client → kernel: in order; a frame that is no
 * message is told to nobody but the log.
 */
import { once } from "node:events";
import type { Duplex } from "node:stream";
import { WebSocket } from "ws";
import { SupervisorError } from "../../contract/index.ts";
import { fromClientText } from "../jupyter/client-message.ts";
import { within } from "../kernel/stop.ts";
import type { Log } from "../log.ts";
import type { Entry } from "../session/entry.ts";
import type { Claim } from "../session/ownership.ts";
import type { Reading } from "../session/journal.ts";
import type { Session } from "../session/session.ts";
import { speakerOf } from "./speaker.ts";
import {
  drained,
  FrameWriter,
  type Patience,
  type Piece,
  together,
} from "./socket.ts";

/** How a protocol spells what goes out. */
export interface Codec {
  /** One text frame, in pieces; `undefined` where the protocol has no word for it. */
  encode(entry: Entry): readonly Piece[] | undefined;
  gap(from: number, to: number): readonly Piece[] | undefined;
  /** The last frame on the socket of an owner that is displaced. */
  displaced(reason: string): readonly Piece[];
}

export interface ChannelOptions {
  readonly codec: Codec;
  readonly log: Log;
  readonly patience: Patience;
  /** The session's own socket, where the client came in by that. */
  readonly socketPath?: string | undefined;
}

const PING_MS = 10_000;
/** Under traffic a ping rides along at least this often, though earlier ones are unanswered. */
const PING_BYTES = 32 * 1024;
/** Unanswered pings of the regular kind that end the connection. */
const MOST_UNANSWERED_MS = 40_000;
/**
 * A client that ends the channel in order has been handed all that was sent
 * before our own close frame. Others (a page that is left, a frame that came
 * broken) close with a code of their own.
 */
const GOODBYES = [1000, 1005];
/** How long a newcomer waits for the one that it displaces. */
const FAREWELL_MS = 250;

/** Carries messages both ways until the socket closes, the session ends or another owner comes. */
export function ownChannels(
  session: Session,
  socket: WebSocket,
  stream: Duplex | undefined,
  options: ChannelOptions,
): void {
  const closed = new AbortController();
  const frames = new FrameWriter(socket, stream);
  const { codec, log } = options;
  const claim = session.ownership.take(
    "Another client has connected to this session",
    (reason) => {
      closed.abort();
      pings.askOnceMore();
      frames.add(codec.displaced(reason));
      frames.flush();
      socket.close(4409, "displaced by another client");
      return farewell(socket);
    },
  );
  session.ownership.socketPath = options.socketPath;
  const pings = new Pings(socket, frames, claim);
  socket.on("error", (error) => log.debug({ err: error }, "Channel broke"));
  socket.on("close", (code) => {
    if (GOODBYES.includes(code)) pings.heardAll();
    pings.stop();
    claim.release();
    closed.abort();
  });
  const deleted = () => socket.close(1001, "the session was deleted");
  session.ended.addEventListener("abort", deleted);
  closed.signal.addEventListener("abort", () =>
    session.ended.removeEventListener("abort", deleted),
  );
  socket.on("message", (data, isBinary) => {
    toKernel(session, data as Buffer, isBinary, log);
  });
  toClient(
    session,
    { socket, stream, frames, claim, pings },
    options,
    closed.signal,
  ).catch((error: unknown) => {
    log.error({ err: error }, "Channel failed");
    socket.terminate();
  });
}

/** Resolves when the socket has closed: the peer has then read all that was sent. One that is half dead is not waited for long. */
async function farewell(socket: WebSocket): Promise<void> {
  if (socket.readyState === WebSocket.CLOSED) return;
  await within(once(socket, "close"), FAREWELL_MS);
}

/** client → kernel */
function toKernel(
  session: Session,
  data: Buffer,
  isBinary: boolean,
  log: Log,
): void {
  if (isBinary) {
    log.warn("A client sent a binary frame, which means nothing here");
    return;
  }
  try {
    session.send(fromClientText(data, speakerOf(session)));
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    log.warn(`A client's message was refused: ${error.message}`);
  }
}

interface Attached {
  readonly socket: WebSocket;
  readonly stream: Duplex | undefined;
  readonly frames: FrameWriter;
  readonly claim: Claim;
  readonly pings: Pings;
}

/** kernel → client */
async function toClient(
  session: Session,
  { socket, stream, frames, claim, pings }: Attached,
  { codec, patience }: ChannelOptions,
  signal: AbortSignal,
): Promise<void> {
  const place = await claim.place;
  pings.begin(place);
  for await (const reading of session.journal.follow(place, signal)) {
    if (socket.readyState !== WebSocket.OPEN) return;
    together(stream, () => sendReading(frames, reading, codec, pings));
    await drained(socket, stream, patience);
  }
}

function sendReading(
  frames: FrameWriter,
  reading: Reading,
  codec: Codec,
  pings: Pings,
): void {
  if ("gap" in reading) {
    const { from, to } = reading.gap;
    const frame = codec.gap(from, to);
    if (frame !== undefined) frames.add(frame);
    pings.sent(to, 0);
    frames.flush();
    pings.ask();
    return;
  }
  for (const entry of reading.entries) {
    const frame = codec.encode(entry);
    if (frame !== undefined) frames.add(frame);
    pings.sent(entry.seq, entry.size);
  }
  frames.flush();
  pings.ask();
}

/**
 * Asks how far the client has come: its pong says that it has read everything
 * sent before the ping. While there is something that it is not known to have
 * read, one question is under way: what has to be said again after a break is
 * what was said within a round trip.
 */
class Pings {
  readonly #socket: WebSocket;
  readonly #frames: FrameWriter;
  readonly #claim: Claim;
  readonly #timer: NodeJS.Timeout;
  /** Ping number to the last entry sent before it, oldest first. */
  readonly #asked = new Map<bigint, { seq: number; at: number }>();
  #count = 0n;
  /** The last that was sent. */
  #seq = 0;
  /** The last that a ping was sent after. */
  #askedFor = 0;
  #bytes = 0;

  constructor(socket: WebSocket, frames: FrameWriter, claim: Claim) {
    this.#socket = socket;
    this.#frames = frames;
    this.#claim = claim;
    this.#timer = setInterval(() => this.#tick(), PING_MS);
    this.#timer.unref();
    socket.on("pong", (payload) => this.#heard(payload));
    this.#ping();
  }

  /** Everything up to `seq` has been heard before. */
  begin(seq: number): void {
    this.#seq = seq;
    this.#askedFor = seq;
  }

  /** An entry is on its way to the client. */
  sent(seq: number, bytes: number): void {
    this.#seq = seq;
    this.#bytes += bytes;
    if (this.#bytes >= PING_BYTES) this.#ping();
  }

  /** Now, whatever is asked already. */
  askOnceMore(): void {
    if (this.#seq > this.#askedFor) this.#ping();
  }

  /** The client has read everything that was sent. */
  heardAll(): void {
    this.#claim.heard(this.#seq);
  }

  /** Unless it is asked already, or there is nothing new to ask for. */
  ask(): void {
    if (this.#asked.size === 0 && this.#seq > this.#askedFor) this.#ping();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #tick(): void {
    const [oldest] = this.#asked.values();
    if (
      oldest !== undefined &&
      performance.now() - oldest.at > MOST_UNANSWERED_MS
    ) {
      this.#socket.terminate();
    } else this.#ping();
  }

  #ping(): void {
    if (this.#socket.readyState !== WebSocket.OPEN) return;
    this.#count += 1n;
    this.#bytes = 0;
    this.#askedFor = this.#seq;
    this.#asked.set(this.#count, { seq: this.#seq, at: performance.now() });
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64BE(this.#count);
    this.#frames.flush(); // it says that what was sent before it has been read
    this.#socket.ping(payload);
  }

  #heard(payload: Buffer): void {
    if (payload.length !== 8) return;
    const number = payload.readBigUInt64BE();
    const asked = this.#asked.get(number);
    if (asked === undefined) return;
    this.#claim.heard(asked.seq);
    // Pongs come in order, and a client may answer only the last of several pings.
    for (const earlier of this.#asked.keys()) {
      if (earlier > number) break;
      this.#asked.delete(earlier);
    }
    this.ask();
  }
}
