/**
 * The contract over tRPC: HTTP with batches, and WebSocket with subscriptions.
 *
 * Kernel messages are sent as the bytes that the journal holds: a subscription
 * yields a whole reading of the journal, the encoder does not change it, and the
 * socket writes it as ordinary tRPC messages. Stock clients see no difference.
 */
import { EventEmitter } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { TRPCError } from "@trpc/server";
import { fetchRequestHandler } from "@trpc/server/adapters/fetch";
import { nodeHTTPRequestHandler } from "@trpc/server/adapters/node-http";
import {
  getWSConnectionHandler,
  jsonEncoder,
  type Encoder,
  type WSSHandlerOptions,
} from "@trpc/server/adapters/ws";
import type { WebSocket } from "ws";
import type { AppRouter } from "../../../../contract/index.ts";
import { limits } from "../../../../contract/limits.ts";
import { inOrder } from "../../../time/in-order.ts";
import { principalOf } from "../../principal.ts";
import { bodyOf } from "../../request-body.ts";
import { abortedByClose } from "../../respond.ts";
import { Placeholders, stringify } from "../../../jupyter/raw-json.ts";
import { textFrameOf } from "../../../jupyter/websocket-frame.ts";
import type { PinnedMemory } from "../../../jupyter/record-memory.ts";
import {
  type Context,
  type SubscriptionEncoder,
  logInternalError,
} from "../../answers/router.ts";
import type { Service } from "../../answers/service.ts";
import type { Door, WebSocketConnection } from "../../door.ts";
import { paced } from "../../relay.ts";
import { readerLimitsOf } from "../../drained.ts";
import { FrameWriter } from "../../socket.ts";
import {
  entriesOf,
  type SubscriptionItem,
} from "../../answers/subscription.ts";
import { idPrefixOf, encodeEntries } from "../../encode-entries.ts";
import {
  callsOf,
  decoded,
  forwardCalls,
  inputsFor,
  isKeepAlive,
} from "./calls.ts";
import { answerPortions, portionsOf } from "./large-batch.ts";
import { requestScheduler } from "../../../time/request-scheduler.ts";

const PREFIX = "/trpc";

export function trpcDoor(router: AppRouter, service: Service): Door {
  const options = {
    router,
    experimental_encoder: encoder,
    createContext: ({ req, res }: ContextSource): Context => ({
      service,
      by: principalOf(req),
      subscriptionEncoder: subscriptionEncoderOf(res),
      fairSchedule: requestScheduler.queue(),
      large: (json) => ({
        [FRAMED]: (message: TrpcMessage) => framesOfAnswer(json, message),
      }),
    }),
    keepAlive: { enabled: true, pingMs: 30_000, pongWaitMs: 60_000 },
    onError: ({ error, path, type }: CallError) => {
      // An error without a call concerns the connection: the data was not WebSocket, or not tRPC.
      if (type === "unknown")
        service.faults.count("tRPC connection", error.code);
      else logInternalError(service, error, path);
    },
  };
  // The options require a `ws` server, which is not used. `TrpcSocket` has the members of a socket that are used.
  const connect = getWSConnectionHandler(
    options as unknown as WSSHandlerOptions<AppRouter>,
  ) as unknown as Connect;
  return {
    methodsAt: (path) => (serves(path) ? ["GET", "HEAD", "POST"] : []),

    upgradesAt: serves,

    async handle({ req, res, method, url }) {
      const procedures = url.pathname.slice(PREFIX.length + 1);
      const isBatch = url.searchParams.get("batch") === "1";
      const inputs = await inputsOf(req, res, url, procedures);
      const marks = new Placeholders();
      const fairSchedule = requestScheduler.queue();
      insertRawJson(res, marks);
      const context: Context = {
        service,
        by: principalOf(req),
        fairSchedule,
        inputs,
        raw: (json) => marks.add(json),
        large: (json) => marks.add(json),
      };
      const common = {
        router,
        maxBatchSize: limits.batch_calls,
        onError: ({ error, path: procedure }: CallError) =>
          logInternalError(service, error, procedure),
      };
      const { accept, "trpc-accept": trpcAccept = accept } = req.headers;
      const isStream = String(trpcAccept).includes("application/jsonl"); // such a request is answered call by call
      const portions =
        isBatch && inputs !== undefined && !isStream
          ? portionsOf(decoded(procedures))
          : undefined;
      if (portions === undefined) {
        await nodeHTTPRequestHandler({
          ...common,
          req,
          res,
          path: procedures,
          createContext: () => context,
          maxBodySize: limits.body_bytes,
        });
        return;
      }
      const gone = abortedByClose(res);
      const { "content-type": type } = req.headers;
      const headers = type === undefined ? {} : { "content-type": type };
      await answerPortions(res, portions, (paths, first) => {
        const names = paths.map(encodeURIComponent).join(",");
        const { href } = new URL(`${PREFIX}/${names}?batch=1`, url.origin);
        return fetchRequestHandler({
          ...common,
          endpoint: PREFIX,
          req: new Request(href, { method, headers, signal: gone.signal }),
          createContext: () => ({ ...context, inputs: inputs?.slice(first) }),
        });
      });
    },

    upgrade({ req, accept }) {
      accept((connection) => connect(new TrpcSocket(connection, service), req));
    },
  };
}

function serves(path: string): boolean {
  return path === PREFIX || path.startsWith(`${PREFIX}/`);
}

/** Reads the inputs before the adapter does; the adapter then finds an empty body. `undefined`: the adapter reads them. */
async function inputsOf(
  req: IncomingMessage & { body?: unknown },
  res: ServerResponse,
  { searchParams }: URL,
  procedures: string,
): Promise<readonly unknown[] | undefined> {
  const isBatch = searchParams.get("batch") === "1";
  if (req.method === "GET" && isBatch) {
    const text = Buffer.from(searchParams.get("input") ?? "");
    return inputsFor(procedures, isBatch, () => Promise.resolve(text));
  }
  if (req.method !== "POST" || req.body !== undefined) return undefined;
  const inputs = await inputsFor(procedures, isBatch, () => bodyOf(req, res));
  req.body = "";
  return inputs;
}

type Connect = (socket: TrpcSocket, req: IncomingMessage) => void;

interface ContextSource {
  readonly req: IncomingMessage;
  readonly res: TrpcSocket;
}

interface CallError {
  readonly error: TRPCError;
  readonly path?: string | undefined;
  readonly type: string;
}

/** Replaces the placeholders for raw JSON. The adapter writes each answer, or each event, in one piece. */
function insertRawJson(res: ServerResponse, marks: Placeholders): void {
  const write = res.write.bind(res) as (...args: unknown[]) => boolean;
  res.write = (chunk: unknown, ...rest: unknown[]) => {
    // Not by `instanceof`: jsdom has a second `Uint8Array` class.
    if (!ArrayBuffer.isView(chunk)) return write(chunk, ...rest);
    const pieces = [...marks.fillBytes(chunk as Uint8Array)];
    const last = pieces.pop();
    for (const piece of pieces) write(piece);
    return write(last, ...rest);
  };
}

/** Marks data that the adapter passes on unread. Its value makes the frames of the message that holds it. */
const FRAMED = Symbol("framed");

interface TrpcFrames {
  readonly pieces: readonly Buffer[];
  readonly memory?: PinnedMemory;
}

interface TrpcMessage {
  readonly id: string | number;
  readonly result?: {
    readonly data?: {
      readonly [FRAMED]?: (message: TrpcMessage) => TrpcFrames;
    } | null;
  };
}

/** A message with frames of its own is sent in them; all others as JSON. */
const encoder: Encoder = {
  decode: (data) => callsOf(data) ?? jsonEncoder.decode(data),
  encode(data) {
    const message = data as TrpcMessage;
    const framed = message.result?.data?.[FRAMED];
    return framed === undefined
      ? stringify(message)
      : (framed(message) as unknown as string);
  },
};

/** The frames of an answer that was encoded in pieces. */
function framesOfAnswer(
  json: readonly Buffer[],
  message: TrpcMessage,
): TrpcFrames {
  const marks = new Placeholders();
  const result = { ...message.result, data: marks.add(json) };
  const text = JSON.stringify({ ...message, result });
  return { pieces: textFrameOf(marks.fillBytes(Buffer.from(text))) };
}

/** A reading of the journal, as the messages that a stock client expects. */
function framesOfItem(item: SubscriptionItem, { id }: TrpcMessage): TrpcFrames {
  const entries = entriesOf(item);
  const prefix = idPrefixOf(item);
  const before = [
    `{"id":${JSON.stringify(id)},"result":{"type":"data","id":"${prefix}`,
    `","data":{"id":"${prefix}`,
    `","data":`,
  ];
  const wrapping = { before, after: "}}}", isFramed: true };
  return encodeEntries(entries, wrapping);
}

/**
 * A client's connection for the adapter, which uses its events and `send`.
 * Frames are read before the adapter gets them.
 */
class TrpcSocket extends EventEmitter {
  readonly frames: FrameWriter;
  readonly #socket: WebSocket;

  constructor(connection: WebSocketConnection, service: Service) {
    super();
    const { socket } = connection;
    this.#socket = socket;
    this.frames = new FrameWriter(connection, readerLimitsOf(service.limits));
    this.setMaxListeners(0);
    this.on("error", () => {}); // a broken connection is an ordinary end; "close" follows
    for (const event of ["close", "error", "pong"]) {
      const hand = (...rest: unknown[]) => void this.emit(event, ...rest);
      socket.on(event, service.guard.around(event, hand));
    }
    const read = inOrder(socket);
    // A large message arrives in pieces.
    socket.on("message", (received, isBinary: boolean) => {
      const data = received as Buffer | Buffer[];
      const hand = (frame: Buffer | Buffer[]) => {
        this.emit("message", frame, isBinary);
      };
      if (isBinary || isKeepAlive(data)) {
        service.guard.around("message", () => hand(data))();
        return;
      }
      read(
        forwardCalls(data, service, {
          bufferedAmount: socket.bufferedAmount,
          emit: hand,
          send: (text) => socket.send(text),
        }),
      );
    });
  }

  get readyState(): number {
    return this.#socket.readyState;
  }

  send(data: string | TrpcFrames): void {
    if (typeof data === "string") {
      this.#socket.send(data);
      return;
    }
    this.frames.add(data.pieces, data.memory);
    this.frames.flush();
  }

  close(code?: number, reason?: string): void {
    this.#socket.close(code, reason);
  }

  terminate(): void {
    this.#socket.terminate();
  }
}

/** The adapter takes the next item when it has sent the last one. So the wait for a slow reader is here. */
function subscriptionEncoderOf({ frames }: TrpcSocket): SubscriptionEncoder {
  return {
    async *encode(subscription, signal) {
      for await (const item of paced(subscription, frames)) {
        if (signal.aborted) return;
        yield {
          [FRAMED]: (message: TrpcMessage) => framesOfItem(item, message),
        };
      }
    },
  };
}
