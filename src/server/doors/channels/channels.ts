/**
 * A session's messages over a WebSocket that has an owner: one client at a time.
 * A new owner displaces the one before it.
 *
 * kernel → client: first what no owner has acknowledged, then new messages. What
 * was sent but not acknowledged when a connection broke is sent again to the
 * next owner. Pings, which are sent in order with the messages, show how far the
 * client has read. client → kernel: in order; a frame that is not a message is
 * counted and logged.
 */
import { once } from "node:events";
import type { WebSocket } from "ws";
import { failure } from "../../../../contract/index.ts";
import { Entries } from "../../../journal/entries.ts";
import { Entry } from "../../../journal/entry.ts";
import { clientMessage } from "../../../jupyter/client-message.ts";
import type { Message } from "../../../jupyter/message.ts";
import { within } from "../../../time/within.ts";
import type { Log } from "../../../log/log.ts";
import type { Claim } from "../../../session/ownership.ts";
import type { Session } from "../../../session/session.ts";
import { inOrder } from "../../../time/in-order.ts";
import { joined } from "../../../jupyter/pieces.ts";
import { DISPLACED, Pings } from "./pings.ts";
import { defaultHeaderOf } from "../../answers/default-header.ts";
import type { ReaderLimits } from "../../drained.ts";
import { itemsOf } from "../../answers/subscription.ts";
import type { WebSocketConnection } from "../../door.ts";
import { fromClient, type FromClientOptions } from "../../from-client.ts";
import { type Codec, relay } from "../../relay.ts";
import { FrameWriter } from "../../socket.ts";

/** How a protocol encodes the events. */
export interface ChannelCodec extends Codec {
  /** The last frame for an owner that is displaced. */
  displaced(reason: string): readonly Buffer[];
}

export interface ChannelOptions extends FromClientOptions {
  readonly codec: ChannelCodec;
  readonly log: Log;
  readonly readerLimits: ReaderLimits;
  /** The path of the session's own socket, if the client connected to that. */
  readonly socketPath?: string | undefined;
}

/** How long a new owner waits for the close of the one before it, which says what that one has received. A client that is gone does not answer. */
const CLOSE_WAIT_MS = 250;

/** Sends messages both ways until the socket closes, the session ends or a new owner connects. */
export function serveChannels(
  session: Session,
  connection: WebSocketConnection,
  options: ChannelOptions,
): void {
  const closed = new AbortController();
  const { socket } = connection;
  const { codec, guard, log } = options;
  const frames = new FrameWriter(connection, options.readerLimits);
  const claim = session.ownership.take(
    "Another client has connected to this session",
    (reason) => {
      closed.abort();
      pings.pingAtOnce();
      frames.add(codec.displaced(reason));
      frames.flush();
      socket.close(DISPLACED, "displaced by another client");
      return untilClosed(socket);
    },
  );
  session.ownership.socketPath = options.socketPath;
  const pings = new Pings(socket, frames, claim, { guard });
  socket.on("error", (error) => log.debug({ err: error }, "Channel broke"));
  const onClose = guard.around("close", (code: number) => {
    pings.closed(code);
    claim.release();
    closed.abort();
  });
  socket.on("close", onClose);
  const closeAtSessionEnd = guard.around("the end of a session", () => {
    const { closeReason } = session;
    if (closeReason !== undefined) socket.close(1001, closeReason);
  });
  session.ended.addEventListener("abort", closeAtSessionEnd); // for a client that has not read the rest in time
  closed.signal.addEventListener("abort", () =>
    session.ended.removeEventListener("abort", closeAtSessionEnd),
  );
  const readInOrder = inOrder(socket);
  socket.on("message", (data, isBinary) => {
    const message = messageIn(session, data as Received, isBinary);
    const reading = fromClient(session, message, options);
    readInOrder(answerForbidden(reading, frames, codec));
  });
  toClient(session, { frames, claim, pings }, options, closed.signal).then(
    closeAtSessionEnd,
    (error: unknown) => {
      guard.report(error, "a channel");
      socket.terminate();
    },
  );
}

/** Resolves when the socket has closed: the peer has then read all that was sent. The wait has a limit, because the connection may be dead. */
async function untilClosed(socket: WebSocket): Promise<void> {
  if (socket.readyState === socket.CLOSED) return;
  await within(once(socket, "close"), CLOSE_WAIT_MS);
}

/** A large message arrives in pieces. */
type Received = Buffer | readonly Buffer[];

/** Answers a forbidden request: to this client alone, in the form of a kernel's reply. */
function* answerForbidden(
  reading: Generator<void, readonly Message[]>,
  frames: FrameWriter,
  codec: Codec,
): Generator<void, void> {
  for (const answer of yield* reading) {
    const entries = Entries.of(Entry.of(0, answer));
    const item = { journal_id: undefined, reading: { entries } };
    codec.encode(item, (pieces) => {
      if (pieces !== undefined) frames.add(pieces);
    });
  }
  frames.flush();
}

/** A frame as a message. Throws `bad_message`. */
function* messageIn(
  session: Session,
  data: Received,
  isBinary: boolean,
): Generator<void, Message> {
  if (isBinary) {
    const why = "it is a binary frame; only text frames are accepted";
    throw failure("bad_message", { why });
  }
  const text = Buffer.isBuffer(data) ? data : yield* joined(data);
  return yield* clientMessage(text, defaultHeaderOf(session));
}

interface OwnerConnection {
  readonly frames: FrameWriter;
  readonly claim: Claim;
  readonly pings: Pings;
}

/** kernel → client, until the session's journal ends or the socket closes. */
async function toClient(
  session: Session,
  { frames, claim, pings }: OwnerConnection,
  { codec, faults }: ChannelOptions,
  signal: AbortSignal,
): Promise<void> {
  const position = await claim.position;
  pings.startAfter(position);
  const { journal, ownership } = session;
  const acknowledged = () => ownership.position;
  const readings = journal.follow(position, signal, { acknowledged });
  const source = itemsOf(journal.id, readings, ({ from, to }) => {
    const why = `messages ${from} to ${to} are no longer kept`;
    const where = { session: session.id };
    faults.count("A channel client missed messages", why, where);
  });
  await relay(source, { codec, sink: frames, owner: pings });
}
