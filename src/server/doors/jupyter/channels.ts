/**
 * A kernel's messages over one WebSocket of Jupyter's protocols.
 *
 * kernel → client: iopub goes to every client; a reply goes to the client that
 * sent the request. The `session_id` of the address identifies a client. A new
 * client receives the kernel's status and then the live messages. A client that
 * connects again continues after the last entry that it has acknowledged.
 * Clients acknowledge by answering pings. Two sockets of one client both receive
 * everything: a Jupyter Server in front opens two, and reads only one of them.
 */
import { randomUUID } from "node:crypto";
import type { Message } from "../../../jupyter/message.ts";
import { joined } from "../../../jupyter/pieces.ts";
import type { Log } from "../../../log/log.ts";
import type { ClientSocket } from "../../../session/jupyter-clients.ts";
import { PROBE } from "../../../session/run.ts";
import type { Session } from "../../../session/session.ts";
import { serverReply } from "../../../session/server-reply.ts";
import { SERVER_ENDS, SERVER_LETS_GO } from "../../../supervisor/supervisor.ts";
import { inOrder } from "../../../time/in-order.ts";
import { defaultHeaderOf } from "../../answers/default-header.ts";
import { itemsOf } from "../../answers/subscription.ts";
import type { WebSocketConnection } from "../../door.ts";
import { fromClient, type FromClientOptions } from "../../from-client.ts";
import type { ReaderLimits } from "../../drained.ts";
import { relay } from "../../relay.ts";
import { FrameWriter, SERVICE_RESTART } from "../../socket.ts";
import { isOrdinaryClose, Pings } from "../channels/pings.ts";
import { codecOf, greeting, statusMessage } from "./codec.ts";
import { type KernelProtocol, outgoing } from "./frames.ts";

export interface JupyterChannelOptions extends FromClientOptions {
  readonly protocol: KernelProtocol;
  /** The client's `session_id`. */
  readonly session_id: string;
  readonly replay: Replay;
  readonly log: Log;
  readonly readerLimits: ReaderLimits;
}

/**
 * The earlier messages that a new client receives: the output of code that still
 * runs, everything that is kept, or everything after a number.
 */
export type Replay = "none" | "running" | "all" | { readonly since: number };

/** The kernel is gone for good: clients do not connect again. */
const KERNEL_GONE = 1000;

/** If a client already has a socket, its new socket waits this long for the position that the other one has acknowledged. */
const SETTLE_MS = 250;

/** Carries messages both ways until the socket closes or the session ends. */
export function jupyterChannels(
  session: Session,
  connection: WebSocketConnection,
  options: JupyterChannelOptions,
): void {
  const { socket } = connection;
  const { guard, log, protocol } = options;
  const { jupyterClients, journal } = session;
  const frames = new FrameWriter(connection, options.readerLimits);
  const send = (message: Message) =>
    frames.add(protocol.encode(outgoing(message)));
  const live = journal.last;
  const running = runningIn(session);
  const start = startOf(options.replay, live, running);
  const client = jupyterClients.get(options.session_id, start);
  const isReplay = options.replay !== "none" && client.acknowledged === start;
  const settled = client.settled(SETTLE_MS);
  const pings = new Pings(socket, frames, client, {
    guard,
    // If another socket of this client is open, the client need not connect again.
    overdue: () =>
      client.sockets.size > 1 ? socket.close(KERNEL_GONE) : socket.terminate(),
  });
  const own: ClientSocket = {
    ping: () => pings.pingAtOnce(),
  };
  client.sockets.add(own);
  const closed = new AbortController();
  socket.on("error", (error) => log.debug({ err: error }, "A channel broke"));
  socket.on(
    "close",
    guard.around("close", (code: number) => {
      pings.closed(code);
      if (isOrdinaryClose(code)) client.closedAfter(pings.sentSeq);
      client.left(own);
      closed.abort();
    }),
  );
  const leave = guard.around("the end of a channel", () => {
    if (!session.ended.aborted) return;
    const { closeReason = "" } = session;
    const isServer = [SERVER_ENDS, SERVER_LETS_GO].includes(closeReason);
    socket.close(isServer ? SERVICE_RESTART : KERNEL_GONE, closeReason);
  });
  session.ended.addEventListener("abort", leave);
  closed.signal.addEventListener("abort", () =>
    session.ended.removeEventListener("abort", leave),
  );

  const state = stateNow(session);
  if (state !== undefined) send(greeting(state));
  frames.flush();
  const codec = codecOf(session, protocol, {
    iopubAfter: isReplay && options.replay === "running" ? live : 0,
    isForClient({ seq, parent_id, channel, requestedBy }) {
      if (parent_id !== undefined && client.hasRequested(parent_id))
        return true;
      // An earlier process received the request.
      if (client.isRestored && channel !== "iopub") {
        if (requestedBy() === options.session_id) return true;
      }
      if (isReplay && options.replay === "running" && seq <= live) {
        if (parent_id === undefined || !running.has(parent_id)) return false;
      }
      if (channel === "iopub") return true;
      // A client that replays gets the replies whose own client is gone.
      return (
        isReplay &&
        parent_id !== undefined &&
        !jupyterClients.isWaitedFor(parent_id)
      );
    },
  });
  const carry = async () => {
    await settled;
    // Another open socket of the client may acknowledge what it received since this one opened.
    const position = Math.min(client.acknowledged, live);
    pings.startAfter(position);
    const readings = journal.follow(position, closed.signal, {
      acknowledged: () => client.acknowledged,
    });
    const source = itemsOf(journal.id, readings, ({ from, to }) => {
      const why = `messages ${from} to ${to} are no longer kept`;
      options.faults.count("A channel client missed messages", why, {
        session: session.id,
      });
    });
    const owner = {
      sent(seq: number, size: number) {
        client.sent(seq);
        pings.sent(seq, size);
      },
      requestAcknowledgement: () => pings.requestAcknowledgement(),
    };
    await relay(source, { codec, sink: frames, owner });
  };
  carry().then(leave, (error: unknown) => {
    guard.report(error, "a channel");
    socket.terminate();
  });

  const inTurn = inOrder(socket);
  socket.on("message", (data, isBinary) => {
    const read = messageIn(session, data as Received, isBinary, protocol);
    inTurn(
      answered(
        fromClient(session, read, options, (message) => {
          client.requested(message.header.msg_id);
          const cached = cachedInfo(message, session);
          if (cached === undefined) session.send(message, options.by);
          return cached ?? [];
        }),
      ),
    );
  });
  function* answered(
    sent: Generator<void, readonly Message[]>,
  ): Generator<void, void> {
    for (const answer of yield* sent) send(answer);
    frames.flush();
  }
}

/** A large message arrives in pieces. */
type Received = Buffer | readonly Buffer[];

function* messageIn(
  session: Session,
  data: Received,
  isBinary: boolean,
  protocol: KernelProtocol,
): Generator<void, Message> {
  const whole = Buffer.isBuffer(data) ? data : yield* joined(data);
  return yield* protocol.decode(whole, isBinary, defaultHeaderOf(session));
}

/** The code that runs, by its id, with the number of its first entry. */
function runningIn({ executions }: Session): ReadonlyMap<string, number> {
  return new Map(
    executions.running.map(({ id, firstSeq }) => [id, firstSeq ?? Infinity]),
  );
}

function startOf(
  replay: Replay,
  live: number,
  running: ReadonlyMap<string, number>,
): number {
  if (replay === "all") return 0;
  if (replay === "running") return Math.min(live + 1, ...running.values()) - 1;
  return replay === "none" ? live : Math.min(replay.since, live);
}

/** The kernel's state that a new client receives; `undefined` for a status that Jupyter's protocols cannot express. */
function stateNow(session: Session) {
  if (session.isRestarting) return "starting";
  switch (session.status) {
    case "ready":
      return "idle";
    case "offline":
    case "uninitialized":
      return undefined;
    case "exited":
      return "dead";
    default:
      return session.status;
  }
}

/**
 * A busy kernel does not answer. Clients request its kernel info when they
 * connect, and wait for the reply and `idle`. So the server answers with the
 * kernel's earlier reply, and then sends the kernel's true state again.
 */
function cachedInfo(
  message: Message,
  session: Session,
): readonly Message[] | undefined {
  const { channel, header } = message;
  if (header.msg_type !== PROBE || channel !== "shell") return undefined;
  if (session.status !== "busy" || session.isRestarting) return undefined;
  const content = { status: "ok", ...session.info };
  const from = { session: KERNEL, username: session.spec.username };
  return [
    statusMessage("busy", message),
    ...serverReply(message, content, from),
    statusMessage("busy"),
  ];
}

/** The `session` in the headers of replies that the server sends in place of a kernel. */
const KERNEL = randomUUID();
