/**
 * The port to ZeroMQ: the functions of a socket that connects to a kernel.
 *
 * Two drivers implement it, `libzmq.ts` and `zmtp.ts`; one test suite checks
 * that both behave the same. Sends keep their order. A driver delivers only
 * complete messages, in one batch for each read.
 */

/** The multipart bytes of one ZeroMQ message. */
export type Frames = readonly Uint8Array[];

/**
 * `connecting` until the peer has completed the ZMTP handshake, and again
 * whenever the connection is lost; `closed` once, after `close` or when the
 * driver gives up.
 */
export type LinkState = "connecting" | "connected" | "closed";

/** A pair of keys in Z85. */
export interface CurveKeys {
  readonly publicKey: string;
  readonly secretKey: string;
}

export interface LinkOptions {
  /** The type of the server's socket. The kernel binds ROUTER or REP for a dealer, PUB or XPUB for a sub. */
  readonly type: "dealer" | "sub";
  /** `tcp://host:port` or `ipc:///path`. */
  readonly endpoint: string;
  /** Routing identity, 1 to 255 bytes, the first not zero; dealers only. */
  readonly identity?: Uint8Array;
  /** CurveZMQ keys (Z85). Only the `libzmq` driver supports them. */
  readonly curve?: CurveKeys;
  /** The most bytes of one message. Default: `MESSAGE_LIMIT`. */
  readonly limit?: number;
  /**
   * kernel → server, in order. Frames may be views of a read buffer. A receiver that
   * keeps a frame after the call copies it, or returns a promise from
   * `backpressure`, which is called next: the last frames then stay unchanged.
   * Must not throw.
   */
  readonly onMessages: (batch: readonly Frames[]) => void;
  /** Called before `onMessages`: it can take complete messages as bytes. The libzmq driver does not call it, because libzmq has only messages. */
  readonly bulk?: Bulk;
  /** Called after each read. If it returns a promise, the driver reads again when the promise resolves; until then the messages wait at the peer. */
  readonly backpressure?: () => Promise<unknown> | undefined;
  /**
   * A message of more than `limit` bytes or `FRAMES_LIMIT` frames was skipped;
   * `size` is the known part of its bytes. The link continues. `libzmq` calls it
   * for too many frames only: at a frame that is too large it closes the
   * connection and connects again.
   */
  readonly onTooLarge?: (size: number) => void;
  readonly onState?: (state: LinkState, error?: Error) => void;
}

/** Takes many messages as bytes, with their ZMTP frames. */
export interface Bulk {
  /** The bytes in the read memory have changed or moved. */
  refilled(): void;
  /** Takes complete messages from the beginning of the read bytes; a message begins there. Returns the number of bytes taken; 0 if it does not take the first message. Must not throw. */
  take(read: Uint8Array): number;
  /** Whether the last `take` stopped at an incomplete message. */
  readonly isCut: boolean;
}

/** One connection to one socket of a kernel. It reconnects until it is closed. */
export interface Link {
  /**
   * Queues the message after the earlier ones, until the peer is connected.
   * Throws a `LinkError` if more bytes than the limit wait, and after `close`.
   */
  send(frames: Frames): void;
  /** Bytes queued and not yet given to the operating system (or to libzmq). */
  readonly waiting: number;
  /** Whether a message is on its way to `onMessages`: a part of it was read, or `backpressure` delays it. The libzmq driver knows only the second, because libzmq has only complete messages. */
  readonly isReceiving: boolean;
  /** Drops the waiting messages and closes the link. A second call does nothing. */
  close(): void;
}

export interface KernelTransport {
  readonly name: string;
  connect(options: LinkOptions): Link;
}

/** The most bytes of one message: the server holds them before it can check the message. */
export const MESSAGE_LIMIT = 1024 * 1024 * 1024;

/** The most frames of one message: also an empty frame needs an object. */
export const FRAMES_LIMIT = 65_536;

/** The most bytes that may wait in one link. Beyond it the kernel counts as unresponsive, not slow. */
export const WAITING_LIMIT = 256 * 1024 * 1024; // bytes

/** A link refuses a message because too many bytes wait or the link is closed. */
export class LinkError extends Error {
  override readonly name = "LinkError";
  readonly why: "full" | "closed";

  constructor(why: LinkError["why"], message: string) {
    super(message);
    this.why = why;
  }
}

/** Throws a `LinkError` if `size` bytes more than the `waiting` ones exceed the limit. An empty queue accepts any message. */
export function checkRoom(waiting: number, size: number): void {
  if (waiting === 0 || waiting + size <= WAITING_LIMIT) return;
  throw new LinkError(
    "full",
    `${waiting} bytes wait for a peer that does not read; the limit is ${WAITING_LIMIT}`,
  );
}
