/**
 * ZeroMQ by libzmq: npm `zeromq`, an optional peer dependency, loaded when first needed.
 *
 * libzmq queues at most `SEND_HIGH_WATER_MARK` messages for its peer, also while
 * the connection is lost. The link queues the rest in order, because a socket
 * allows one pending send and refuses a second.
 */
import type * as Zeromq from "zeromq";
import type { Dealer, Socket, Subscriber } from "zeromq";
import { PeerQueue } from "./peer-queue.ts";
import { checkOptions } from "./link-options.ts";
import {
  LinkError,
  MESSAGE_LIMIT,
  type Frames,
  type KernelTransport,
  type Link,
  type LinkOptions,
  type LinkState,
} from "./transport.ts";

/** `connect` throws a `RangeError` for options that no peer could accept. */
export const libzmq: KernelTransport = libzmqFrom(() => import("zeromq"));

/** For peers of ZMTP 1 and 2. libzmq does not report their handshakes, so a link is connected when TCP is. */
export const libzmqForOldPeers: KernelTransport = libzmqFrom(
  () => import("zeromq"),
  "connect",
);

/** The driver with the package that `load` returns. It calls `load` once, at the first link. */
export function libzmqFrom(
  load: () => Promise<Package>,
  connected: "handshake" | "connect" = "handshake",
): KernelTransport {
  let loading: Promise<Library> | undefined;
  return {
    name: "libzmq",
    connect(options: LinkOptions): Link {
      checkOptions(options);
      loading ??= toLibrary(load(), connected);
      return new LibzmqLink(options, loading);
    },
  };
}

type Package = typeof Zeromq;

interface Library {
  readonly zeromq: Package;
  readonly context: Zeromq.Context;
  /** The event that makes a link connected. */
  readonly connected: "handshake" | "connect";
}

/** The most bytes in a batch of received messages, unless a single message is larger. */
const BATCH_BYTES = 1024 * 1024;

const SEND_HIGH_WATER_MARK = 64; // messages

/**
 * The timeout of a send, after which it is tried again. Under a burst the package
 * sometimes misses libzmq's only report of free room, and would wait for ever.
 */
const SEND_TIMEOUT_MS = 500;

/** libzmq doubles the first interval up to the second. */
const RECONNECT = { first_ms: 20, most_ms: 200 } as const;

/** A kernel needs five sockets and five monitors; libzmq's default is 1,023 sockets in all. */
const MAX_SOCKETS = 65_535;

/** Keeps links alive: the garbage collector closes a socket without a reference. */
const openLinks = new Set<LibzmqLink>();

class LibzmqLink implements Link {
  readonly #options: LinkOptions;
  readonly #queue = new PeerQueue();
  #state: LinkState = "connecting";
  #socket: Dealer | Subscriber | undefined;
  #sending = false;
  #awaitsReceiver = false;
  #batch: Frames[] = [];
  #batchBytes = 0;

  constructor(options: LinkOptions, library: Promise<Library>) {
    this.#options = options;
    openLinks.add(this);
    void this.#run(library); // every error ends in the state `closed`
  }

  get waiting(): number {
    return this.#queue.bytes;
  }

  get isReceiving(): boolean {
    if (this.#isClosed()) return false;
    return this.#batch.length > 0 || this.#awaitsReceiver;
  }

  send(frames: Frames): void {
    if (this.#state === "closed") {
      throw new LinkError(
        "closed",
        `The link to ${this.#options.endpoint} is closed`,
      );
    }
    if (this.#options.type === "sub") {
      throw new TypeError("A sub does not send");
    }
    this.#queue.push(frames);
    if (!this.#sending) void this.#sendAll();
  }

  close(): void {
    this.#close(undefined);
  }

  async #run(loading: Promise<Library>): Promise<void> {
    try {
      const library = await loading;
      const socket = toSocket(library, this.#options);
      if (this.#isClosed()) {
        socket.close();
        return;
      }
      this.#socket = socket;
      this.#observe(socket, library.connected);
      socket.connect(this.#options.endpoint);
      void this.#sendAll();
      for await (const frames of socket) {
        this.#addToBatch(frames);
        const backpressure = this.#options.backpressure?.();
        if (backpressure === undefined) continue;
        this.#awaitsReceiver = true;
        await backpressure;
        this.#awaitsReceiver = false;
      }
    } catch (error) {
      this.#close(error instanceof Error ? error : new Error(String(error)));
    }
  }

  #observe({ events }: Socket, connected: Library["connected"]): void {
    const { endpoint } = this.#options;
    events.on(connected, () => this.#setState("connected"));
    events.on("disconnect", () =>
      this.#setState("connecting", new Error("The connection was lost")),
    );
    const giveUp = ({ error }: { readonly error: Error }): void => {
      this.#close(
        new Error(
          `${endpoint}: the ZMTP handshake failed: the security mechanism or its keys do not match; check the CURVE keys in the connection file`,
          { cause: error },
        ),
      );
    };
    events.on("handshake:error:protocol", giveUp);
    events.on("handshake:error:auth", giveUp);
  }

  /** Received messages resolve in consecutive microtasks. The next tick delivers them as one batch; a batch of `BATCH_BYTES` is delivered at once. */
  #addToBatch(frames: Frames): void {
    for (const frame of frames) this.#batchBytes += frame.length;
    if (this.#batch.push(frames) === 1) process.nextTick(this.#deliverBatch);
    if (this.#batchBytes >= BATCH_BYTES) this.#deliverBatch();
  }

  readonly #deliverBatch = (): void => {
    const batch = this.#batch;
    this.#batch = [];
    this.#batchBytes = 0;
    if (batch.length === 0 || this.#isClosed()) return;
    this.#options.onMessages(batch);
  };

  async #sendAll(): Promise<void> {
    const socket = this.#socket;
    if (socket === undefined || this.#sending) return;
    this.#sending = true;
    try {
      for (;;) {
        const frames = this.#queue.shift();
        if (frames === undefined || !("send" in socket)) break;
        while (!(await isSent(socket, frames)));
      }
    } catch (error) {
      this.#close(error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#sending = false;
    }
  }

  #close(error: Error | undefined): void {
    if (this.#isClosed()) return;
    openLinks.delete(this);
    this.#queue.clear();
    this.#batch = [];
    this.#socket?.close();
    this.#setState("closed", error);
  }

  /** A call, because it may become true during an `await`. */
  #isClosed(): boolean {
    return this.#state === "closed";
  }

  #setState(state: LinkState, error?: Error): void {
    if (this.#isClosed() || this.#state === state) return;
    this.#state = state;
    this.#options.onState?.(state, error);
  }
}

/** False if there was no room for `SEND_TIMEOUT_MS`; no part of the message was sent then. */
async function isSent(socket: Dealer, frames: Frames): Promise<boolean> {
  try {
    await socket.send([...frames]);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EAGAIN") return false;
    throw error;
  }
}

async function toLibrary(
  loading: Promise<Package>,
  connected: Library["connected"],
): Promise<Library> {
  try {
    const zeromq = await loading;
    const { Context } = zeromq;
    // An own context, which does not block the end of the process.
    const context = new Context({ blocky: false, maxSockets: MAX_SOCKETS });
    return { zeromq, context, connected };
  } catch (cause) {
    throw new Error(
      "The package zeromq could not be loaded. It is optional: kernels with CURVE keys, kernels with a ZeroMQ from before 2013, and the libzmq driver need it. Install it with `npm install zeromq`",
      { cause },
    );
  }
}

function toSocket(
  { zeromq, context }: Library,
  { type, endpoint, identity, curve, limit = MESSAGE_LIMIT }: LinkOptions,
): Dealer | Subscriber {
  if (curve !== undefined && zeromq.capability.curve !== true) {
    throw new Error(
      `${endpoint} has CURVE keys, and the installed zeromq package was built without CURVE`,
    );
  }
  const common = {
    context,
    linger: 0, // with the default, closing with one unsent message blocks the end of the process
    maxMessageSize: limit, // of one frame: libzmq closes the connection at a larger frame, before it allocates memory
    receiveHighWaterMark: 0, // no limit, because a busy event loop would lose messages of the kernel
    reconnectInterval: RECONNECT.first_ms,
    reconnectMaxInterval: RECONNECT.most_ms,
    ipv6: endpoint.startsWith("tcp://["),
    // The kernel is the CURVE server, and this side the client. Both use the one key pair in the connection file.
    ...(curve !== undefined && {
      curveServerKey: curve.publicKey,
      curvePublicKey: curve.publicKey,
      curveSecretKey: curve.secretKey,
    }),
  };
  if (type === "sub") {
    const sub = new zeromq.Subscriber(common);
    sub.subscribe();
    return sub;
  }
  return new zeromq.Dealer({
    ...common,
    sendHighWaterMark: SEND_HIGH_WATER_MARK,
    sendTimeout: SEND_TIMEOUT_MS,
    ...(identity !== undefined && {
      // Declared as a string; bytes are accepted too, and only bytes can encode every identity.
      routingId: Buffer.from(identity) as unknown as string,
    }),
  });
}
