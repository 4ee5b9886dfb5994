/**
 * Tracks what the owner of a channel has read, by pings: a pong means that it has
 * read everything that was sent before the ping. While something is not
 * acknowledged, pings are sent again and again, with a minimum interval. After a
 * lost connection, the messages of at most two such intervals and two round trips
 * are sent again.
 *
 * A pong is accepted when the next one has arrived, because a broken connection
 * may have damaged the last one.
 *
 * An owner that sends no more pongs is disconnected, but never because of time in
 * which this process did not run.
 */
import type { WebSocket } from "ws";
import type { Guard } from "../../../log/guard.ts";
import type { Claim } from "../../../session/ownership.ts";
import type { FrameWriter } from "../../socket.ts";

export interface PingTimes {
  /** The interval of the regular pings. */
  readonly every_ms: number;
  /** How long a pong may take until the connection is ended. */
  readonly timeout_ms: number;
}

export interface PingOptions extends Partial<PingTimes> {
  readonly guard: Pick<Guard, "around">;
  /** Called when an answer is overdue. Default: the connection is cut off. */
  readonly overdue?: (() => void) | undefined;
}

const TIMES: PingTimes = { every_ms: 10_000, timeout_ms: 40_000 };
/** A ping is sent after this many bytes, even if earlier pings are unanswered. */
const PING_BYTES = 32 * 1024;
/** The minimum interval of pings that are not regular: each costs a write and a read on both sides. */
const MIN_PING_INTERVAL_MS = 50;

export class Pings {
  readonly #socket: WebSocket;
  readonly #frames: Pick<FrameWriter, "flush">;
  readonly #claim: Pick<Claim, "acknowledge">;
  readonly #times: PingTimes;
  readonly #overdue: () => void;
  readonly #timer: NodeJS.Timeout;
  /** Ping number to the last entry sent before it, oldest first. */
  readonly #unanswered = new Map<bigint, { seq: number; at: number }>();
  #count = 0n;
  /** The last entry that was sent. */
  #sentSeq = 0;
  /** The last entry before the last ping. */
  #pingedSeq = 0;
  /** The last entry before the ping that was answered last. */
  #answeredSeq = 0;
  /** The last entry that the owner is known to have read. */
  #acknowledgedSeq = 0;
  #bytes = 0;
  #lastPingAt = -Infinity;
  #delayedPing: NodeJS.Timeout | undefined;
  readonly #pingNow: () => void;

  /** When the timer should fire. */
  #due: number;

  constructor(
    socket: WebSocket,
    frames: Pick<FrameWriter, "flush">,
    claim: Pick<Claim, "acknowledge">,
    { guard, overdue = () => socket.terminate(), ...times }: PingOptions,
  ) {
    this.#socket = socket;
    this.#frames = frames;
    this.#claim = claim;
    this.#times = { ...TIMES, ...times };
    this.#overdue = overdue;
    const { every_ms } = this.#times;
    this.#due = performance.now() + every_ms;
    this.#pingNow = guard.around("ping", () => {
      this.#delayedPing = undefined;
      this.requestAcknowledgement();
    });
    const tick = guard.around("ping", () => this.#tick());
    this.#timer = setInterval(tick, every_ms);
    this.#timer.unref();
    const onPong = guard.around("pong", (payload: Buffer) =>
      this.#onPong(payload),
    );
    socket.on("pong", onPong);
    this.#ping();
  }

  /** Earlier owners have acknowledged everything up to `seq`. */
  startAfter(seq: number): void {
    this.#sentSeq = seq;
    this.#pingedSeq = seq;
    this.#answeredSeq = seq;
    this.#acknowledgedSeq = seq;
  }

  /** An entry was sent to the client. */
  sent(seq: number, bytes: number): void {
    this.#sentSeq = seq;
    this.#bytes += bytes;
    if (this.#bytes >= PING_BYTES) this.#ping();
  }

  /** Pings at once if something was sent after the last ping. */
  pingAtOnce(): void {
    if (this.#sentSeq > this.#pingedSeq) this.#ping();
  }

  /** The client has read everything that was sent. */
  acknowledgeAll(): void {
    this.#claim.acknowledge(this.#sentSeq);
  }

  /** Pings if something is not acknowledged and no ping is open, but not before the minimum interval has passed. */
  requestAcknowledgement(): void {
    if (this.#unanswered.size > 0 || this.#sentSeq <= this.#acknowledgedSeq)
      return;
    const left_ms = this.#lastPingAt + MIN_PING_INTERVAL_MS - performance.now();
    if (left_ms <= 0) this.#ping();
    else this.#delayedPing ??= setTimeout(this.#pingNow, left_ms).unref();
  }

  stop(): void {
    clearTimeout(this.#delayedPing);
    clearInterval(this.#timer);
  }

  #tick(): void {
    const { every_ms, timeout_ms } = this.#times;
    const now = performance.now();
    const late_ms = now - this.#due;
    this.#due = now + every_ms;
    if (late_ms > every_ms) this.#extendDeadlines(late_ms);
    const [oldest] = this.#unanswered.values();
    if (oldest !== undefined && now - oldest.at > timeout_ms) {
      this.#overdue();
    } else this.#ping();
  }

  /** This process was stopped, or slept, for `late_ms`: there may be unread pongs. */
  #extendDeadlines(late_ms: number): void {
    for (const ping of this.#unanswered.values()) ping.at += late_ms;
  }

  #ping(): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#count += 1n;
    this.#bytes = 0;
    this.#pingedSeq = this.#sentSeq;
    this.#lastPingAt = performance.now();
    this.#unanswered.set(this.#count, {
      seq: this.#sentSeq,
      at: this.#lastPingAt,
    });
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64BE(this.#count);
    this.#frames.flush(); // the ping must follow everything that was sent before
    this.#socket.ping(payload);
  }

  #onPong(payload: Buffer): void {
    if (payload.length !== 8) return;
    const number = payload.readBigUInt64BE();
    const ping = this.#unanswered.get(number);
    if (ping === undefined) return;
    this.#acknowledgedSeq = this.#answeredSeq;
    this.#answeredSeq = ping.seq;
    this.#claim.acknowledge(this.#acknowledgedSeq);
    // Pongs arrive in order, and a client may answer only the last of several pings.
    for (const earlier of this.#unanswered.keys()) {
      if (earlier > number) break;
      this.#unanswered.delete(earlier);
    }
    this.requestAcknowledgement();
  }
}
