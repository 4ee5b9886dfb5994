/**
 * ZeroMQ without libzmq: a ZMTP 3.0 client (RFC 23, NULL mechanism) on `node:net`.
 *
 * A message that was not yet written when the connection is lost stays queued for
 * the next connection. A written message may or may not have arrived; at most one
 * write is under way (64 kB of messages, or a single larger one). It is not sent
 * again, because a kernel executes twice what it receives twice.
 */
import { checkOptions } from "./link-options.ts";
import { PeerQueue } from "./peer-queue.ts";
import {
  LinkError,
  type Frames,
  type KernelTransport,
  type Link,
  type LinkOptions,
  type LinkState,
} from "./transport.ts";
import { BadPeer } from "./zmtp/bad-peer.ts";
import { ZmtpConnection, type ConnectionEvents } from "./zmtp/connection.ts";
import { WRITE_SIZE } from "./zmtp/encoder.ts";
import { SUBSCRIBE_TO_ALL } from "./zmtp/handshake.ts";

/** `connect` throws a `RangeError` for options that no peer could accept, and for CURVE keys, which need libzmq. */
export const zmtp: KernelTransport = {
  name: "zmtp",
  connect(options: LinkOptions): Link {
    checkOptions(options);
    if (options.curve !== undefined) {
      throw new RangeError("CURVE keys need the libzmq driver");
    }
    return new ZmtpLink(options);
  },
};

/** The wait before a new attempt is a tenth of the time since the peer was last connected. */
const BACKOFF = { part: 0.1, least_ms: 10, most_ms: 1_000 } as const;

class ZmtpLink implements Link {
  readonly #options: LinkOptions;
  readonly #queue = new PeerQueue();
  readonly #listener: ConnectionEvents;
  #state: LinkState = "connecting";
  #connection: ZmtpConnection;
  /** When the peer was last connected, or when the first attempt began. */
  #awaySince = performance.now();
  #retry: NodeJS.Timeout | undefined;
  #flushing = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#listener = {
      ready: () => this.#onReady(),
      messages: (batch) => this.#options.onMessages(batch),
      tooLarge: (size) => this.#options.onTooLarge?.(size),
      drained: () => this.#flush(),
      ended: (error) => this.#onEnded(error),
    };
    this.#connection = new ZmtpConnection(options, this.#listener);
  }

  get waiting(): number {
    return this.#state === "closed"
      ? 0
      : this.#queue.bytes + this.#connection.unsent;
  }

  get isReceiving(): boolean {
    return this.#connection.isReceiving;
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
    this.#queue.push(frames, this.#connection.unsent);
    if (this.#queue.bytes >= WRITE_SIZE) {
      this.#flush();
    } else if (!this.#flushing) {
      this.#flushing = true; // sends of one tick become one write
      process.nextTick(this.#flushSoon);
    }
  }

  close(): void {
    this.#close(undefined);
  }

  readonly #flushSoon = (): void => {
    this.#flushing = false;
    this.#flush();
  };

  #flush(): void {
    while (this.#queue.length > 0 && this.#connection.idle) {
      this.#connection.writeFrom(this.#queue);
    }
  }

  #onReady(): void {
    if (this.#options.type === "sub") {
      const subscription = new PeerQueue();
      subscription.push(SUBSCRIBE_TO_ALL);
      this.#connection.writeFrom(subscription);
    }
    this.#setState("connected");
    this.#flush();
  }

  #onEnded(error: Error): void {
    if (error instanceof BadPeer) {
      error.message = `${this.#options.endpoint}: ${error.message}`;
      this.#close(error);
      return;
    }
    if (this.#state === "connected") this.#awaySince = performance.now();
    const away_ms = performance.now() - this.#awaySince;
    const { part, least_ms, most_ms } = BACKOFF;
    this.#retry = setTimeout(
      () => {
        this.#connection = new ZmtpConnection(this.#options, this.#listener);
      },
      Math.min(Math.max(away_ms * part, least_ms), most_ms),
    );
    if (this.#state === "connected") this.#setState("connecting", error);
  }

  #close(error: Error | undefined): void {
    if (this.#state === "closed") return;
    clearTimeout(this.#retry);
    this.#connection.destroy();
    this.#queue.clear();
    this.#setState("closed", error);
  }

  #setState(state: LinkState, error?: Error): void {
    this.#state = state;
    this.#options.onState?.(state, error);
  }
}
