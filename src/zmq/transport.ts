/**
 * The port to ZeroMQ: what the program needs of a socket that connects to a kernel.
 *
 * Two drivers stand behind it, `libzmq.ts` and `zmtp.ts`; one suite holds both
 * to the same behaviour. Sends keep their order. Whole messages only, in
 * batches as they were read, so that one read costs one hand-over.
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
  /** What we are: the kernel binds ROUTER or REP for a dealer, PUB or XPUB for a sub. */
  readonly type: "dealer" | "sub";
  /** `tcp://host:port` or `ipc:///path`. */
  readonly endpoint: string;
  /** Routing identity, 1 to 255 bytes, the first not zero; dealers only. */
  readonly identity?: Uint8Array;
  /** CurveZMQ keys (Z85). Only `libzmq` speaks it. */
  readonly curve?: CurveKeys;
  /** Most bytes of one message; `MESSAGE_LIMIT` unless given. */
  readonly limit?: number;
  /**
   * kernel → us, in order. Frames may be views of a read buffer: whoever keeps
   * one beyond the call copies it, or makes the driver wait by `behind`, which
   * is asked next: frames that were handed over last then stay as they are. Must not throw.
   */
  readonly onMessages: (batch: readonly Frames[]) => void;
  /** Asked before `onMessages` for whole messages that it would rather take as bytes. Not by libzmq, which has only messages. */
  readonly bulk?: Bulk;
  /** Asked after each read: what it returns is waited for before the next, so that the peer's messages wait there. */
  readonly backpressure?: () => Promise<unknown> | undefined;
  /**
   * A message of more than `limit` bytes or `FRAMES_LIMIT` frames was passed
   * over; `size` is what is known of its bytes. The link goes on. `libzmq` tells
   * it of the frames only: over a frame that is too large it hangs up, and
   * connects again.
   */
  readonly onTooLarge?: (size: number) => void;
  readonly onState?: (state: LinkState, error?: Error) => void;
}

/** Takes many messages as the bytes that were read, ZMTP frames and all. */
export interface Bulk {
  /** Other bytes are in the memory that is read into, or the same at another place. */
  refilled(): void;
  /** Takes whole messages from the beginning of what was read, where one begins. Returns how many bytes; 0 when the first is not for it. Must not throw. */
  take(read: Uint8Array): number;
  /** Whether it stopped there because the end of a message is still to come. */
  readonly isCut: boolean;
}

/** One connection to one socket of a kernel; reconnects by itself until closed. */
export interface Link {
  /**
   * Takes the message, in line behind those before it; kept until the peer is
   * there. Throws a `LinkError` when more than the limit is waiting, and after
   * `close`.
   */
  send(frames: Frames): void;
  /** Bytes taken but not yet handed to the operating system (or to libzmq). */
  readonly waiting: number;
  /** Drops what is waiting and closes. Safe to call twice. */
  close(): void;
}

export interface KernelTransport {
  readonly name: string;
  connect(options: LinkOptions): Link;
}

/** Most bytes of one message: what a kernel may make us hold before we know what it is. */
export const MESSAGE_LIMIT = 1024 * 1024 * 1024;

/** Most frames of one message: each costs us an object, however empty it is. */
export const FRAMES_LIMIT = 65_536;

/** Most bytes that may wait in one link: a kernel that does not read is told from one that is slow. */
export const WAITING_LIMIT = 256 * 1024 * 1024; // bytes

/** Why a link takes no message: too much waits in it, or it is closed. */
export class LinkError extends Error {
  override readonly name = "LinkError";
  readonly why: "full" | "closed";

  constructor(why: LinkError["why"], message: string) {
    super(message);
    this.why = why;
  }
}

/** Throws a `LinkError` when `size` bytes more than the `waiting` ones are too many. An empty line takes any message. */
export function checkRoom(waiting: number, size: number): void {
  if (waiting === 0 || waiting + size <= WAITING_LIMIT) return;
  throw new LinkError(
    "full",
    `${waiting} bytes wait for a peer that does not read; the limit is ${WAITING_LIMIT}`,
  );
}
