/**
 * The contract over tRPC: HTTP with batches, and WebSocket with subscriptions.
 *
 * Kernel messages go out as the bytes they are: a subscription yields a whole
 * reading of the journal, the encoder lets it pass, and the socket spells it as
 * ordinary tRPC messages. Stock clients notice nothing.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { nodeHTTPRequestHandler } from "@trpc/server/adapters/node-http";
import {
  getWSConnectionHandler,
  jsonEncoder,
  type Encoder,
} from "@trpc/server/adapters/ws";
import { WebSocket, WebSocketServer } from "ws";
import type { AppRouter } from "../../../../contract/index.ts";
import { limits } from "../../../../contract/limits.ts";
import { InOrder } from "../../in-order.ts";
import { PatientSocket } from "../../large-messages.ts";
import { principalOf } from "../../principal.ts";
import { bodyOf } from "../../request-body.ts";
import { Marks, stringify } from "../../../jupyter/raw-json.ts";
import { type Context, type Feed, logAccident } from "../../answers/router.ts";
import type { Service } from "../../answers/service.ts";
import { drained, FrameWriter, sayGoodbye } from "../../socket.ts";
import { eachEvent, type Told } from "../../answers/told.ts";
import { callsOf, handedOn, inputsFor, isKeepAlive } from "./calls.ts";

const PREFIX = "/trpc";

export class TrpcDoor {
  readonly #router: AppRouter;
  readonly #service: Service;
  readonly #sockets: WebSocketServer;

  constructor(router: AppRouter, service: Service) {
    this.#router = router;
    this.#service = service;
    this.#sockets = new WebSocketServer({
      noServer: true,
      perMessageDeflate: false,
      maxPayload: limits.body_bytes,
      WebSocket: EntrySocket,
    });
    const connect = getWSConnectionHandler({
      wss: this.#sockets,
      router,
      maxBatchSize: limits.batch_calls, // a client that comes back resumes all its subscriptions in one frame
      experimental_encoder: encoder,
      createContext: ({ req, res }): Context => ({
        service,
        by: principalOf(req),
        feed: feedOf(entrySocket(res), service),
      }),
      keepAlive: { enabled: true, pingMs: 30_000, pongWaitMs: 60_000 },
      onError: ({ error, path, type }) => {
        // What is no call's own is the connection's: what came on it was not WebSocket, or not tRPC.
        if (type === "unknown")
          service.faults.count("tRPC connection", error.code);
        else logAccident(service, error, path);
      },
    });
    this.#sockets.on("connection", (socket, request) => {
      socket.on("error", () => {}); // a broken connection is an ordinary end; "close" follows
      connect(socket, request);
    });
  }

  serves(path: string): boolean {
    return path === PREFIX || path.startsWith(`${PREFIX}/`);
  }

  async handle(
    req: IncomingMessage,
    res: ServerResponse,
    path: string,
  ): Promise<void> {
    const procedures = path.slice(PREFIX.length + 1);
    const inputs = await this.#inputsOf(req, res, procedures);
    const marks = new Marks();
    fillAsWritten(res, marks);
    await nodeHTTPRequestHandler({
      router: this.#router,
      req,
      res,
      path: procedures,
      createContext: (): Context => ({
        service: this.#service,
        by: principalOf(req),
        inputs,
        raw: (json) => marks.mark(json),
      }),
      maxBatchSize: limits.batch_calls,
      maxBodySize: limits.body_bytes,
      onError: ({ error, path: procedure }) =>
        logAccident(this.#service, error, procedure),
    });
  }

  /** Read before the adapter does it, which then finds an empty body. `undefined` where the body is not ours to read. */
  async #inputsOf(
    req: IncomingMessage & { body?: unknown },
    res: ServerResponse,
    procedures: string,
  ): Promise<readonly unknown[] | undefined> {
    if (req.method !== "POST" || req.body !== undefined) return undefined;
    const isBatch = /[?&]batch=1(?:&|$)/.test(req.url ?? "");
    const inputs = await inputsFor(procedures, isBatch, () => bodyOf(req, res));
    if (inputs !== undefined) req.body = "";
    return inputs;
  }

  upgrade(req: IncomingMessage, stream: Duplex, head: Buffer): void {
    this.#sockets.handleUpgrade(req, stream, head, (socket) => {
      entrySocket(socket).stream = stream;
      entrySocket(socket).listen(this.#service);
      for (const emitter of [socket, stream]) emitter.setMaxListeners(0); // each subscription waits for it to drain
      this.#sockets.emit("connection", socket, req);
    });
  }

  /** Says goodbye to everybody. */
  close(): void {
    sayGoodbye(this.#sockets.clients);
  }
}

/** The adapter spells answers, and writes each, or each event, in one piece. */
function fillAsWritten(res: ServerResponse, marks: Marks): void {
  const write = res.write.bind(res) as (...args: unknown[]) => boolean;
  res.write = (chunk: unknown, ...rest: unknown[]) =>
    write(
      chunk instanceof Uint8Array ? marks.filledBytes(chunk) : chunk,
      ...rest,
    );
}

/** A reading on its way through tRPC's adapter, which knows it only as the data of an event. */
class Batch {
  requestId: string | number = 0;
  readonly told: Told;

  constructor(told: Told) {
    this.told = told;
  }
}

/** Batches pass as they are; everything else is JSON as ever. */
const encoder: Encoder = {
  decode: (data) => callsOf(data) ?? jsonEncoder.decode(data),
  encode(message) {
    const batch = batchIn(message);
    if (batch === undefined) return stringify(message);
    batch.requestId = (message as { id: string | number }).id;
    return batch as unknown as string;
  },
};

function batchIn(message: unknown): Batch | undefined {
  const { result } = message as { result?: { data?: unknown } };
  return result?.data instanceof Batch ? result.data : undefined;
}

/** Reads frames before the adapter does, and spells a batch as the tRPC messages that a stock client expects. */
class EntrySocket extends PatientSocket {
  stream: Duplex | undefined;
  #service: Service | undefined;
  readonly #frames = new InOrder(this);

  /** From now on frames are read in turn. */
  listen(service: Service): void {
    this.#service = service;
  }

  override emit(event: string | symbol, ...rest: unknown[]): boolean {
    const [data] = rest;
    const isBinary = rest[1] === true;
    if (
      event !== "message" ||
      isBinary ||
      this.#service === undefined ||
      !isReceived(data) ||
      isKeepAlive(data)
    ) {
      return super.emit(event, ...rest);
    }
    this.#frames.add(
      handedOn(data, this.#service, {
        bufferedAmount: this.bufferedAmount,
        emit: (frame) => void super.emit(event, frame, false),
        send: (text) => this.send(text),
      }),
    );
    return true;
  }

  override send(data: unknown, ...rest: unknown[]): void {
    if (!(data instanceof Batch)) {
      (super.send as (...args: unknown[]) => void)(data, ...rest);
      return;
    }
    const { told, requestId } = data;
    const before = `{"id":${JSON.stringify(requestId)},"result":{"type":"data","id":"`;
    const frames = new FrameWriter(this, this.stream);
    eachEvent(told, (id, json) => {
      frames.add([
        `${before}${id}","data":{"id":"${id}","data":`,
        ...json,
        END,
      ]);
    });
    frames.flush();
  }
}

const END = "}}}";

/** A large message comes in pieces. */
function isReceived(data: unknown): data is Buffer | readonly Buffer[] {
  return Buffer.isBuffer(data) || Array.isArray(data);
}

/** All of this door's sockets are: their server makes no others. */
function entrySocket(socket: WebSocket): EntrySocket {
  if (socket instanceof EntrySocket) return socket;
  throw new TypeError("A socket of another door");
}

/** The adapter asks for the next reading when it has handed over the last: here is where a slow reader waits. */
function feedOf(socket: EntrySocket, { limits }: Service): Feed {
  const patience = {
    limit: limits.reader_buffer_bytes,
    patience_ms: limits.reader_patience_ms,
  };
  return {
    async *take(subscription, signal) {
      for await (const told of subscription) {
        yield new Batch(told);
        const { stream } = socket;
        if (stream === undefined || signal.aborted) return;
        await drained(socket, stream, patience);
        if (socket.readyState !== WebSocket.OPEN) return; // it may be long in closing
      }
    },
  };
}
