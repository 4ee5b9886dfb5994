/**
 * Tracks what the owner of a channel has read, by pings: a pong means that it has
 * read everything that was sent before the ping. A ping follows new messages in
 * the same write, unless too many were sent lately. While something
 * is not acknowledged, pings are sent again and again. After a lost connection,
 * the messages of at most two intervals and two round trips are sent again.
 *
 * A pong is accepted when the next one has arrived, because a broken connection
 * may have damaged the last one. A close frame proves that it did not. A client
 * that begins the close itself may not have read the messages of the last round
 * trip; one that answers the server's close has read everything.
 *
 * An owner that sends no more pongs is disconnected, but never because of time in
 * which this process did not run.
 */
import type { WebSocket } from "ws";
import type { Guard } from "../../../log/guard.ts";
import type { Claim } from "../../../session/ownership.ts";
import { type FrameWriter, SERVICE_RESTART } from "../../socket.ts";

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
/** The average interval of pings that follow new messages: each costs a read here and a write at the client. */
const PING_INTERVAL_MS = 20;
/** After a pause, this many pings may follow new messages without an interval. */
const PING_BURST = 16;
/** Without new messages, a ping that makes the last pong acceptable is sent this long after the last ping. */
const CONFIRM_MS = 50;

/** Close code: another client displaced the owner. */
export const DISPLACED = 4409;
/** Only the server begins a close with these codes. The client's answer follows everything that was sent. */
const BY_SERVER = [SERVICE_RESTART, DISPLACED];

/** Whether the client has closed the socket itself, in the ordinary way. */
export function isOrdinaryClose(code: number): boolean {
  return [1000, 1001, 1005].includes(code);
}

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
  /** When new messages may be followed by a ping again. */
  #nextPingAt = -Infinity;
  #delayedPing: NodeJS.Timeout | undefined;
  /** When the delayed ping is sent. */
  #delayedUntil = Infinity;
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
      this.#delayedUntil = Infinity;
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

  /** Pings if something is not acknowledged, now or as soon as the limit of the rate allows it. */
  requestAcknowledgement(): void {
    if (this.#sentSeq <= this.#acknowledgedSeq) return;
    const isNew = this.#sentSeq > this.#pingedSeq;
    if (!isNew && this.#unanswered.size > 0) return;
    const at = isNew ? this.#nextPingAt : this.#lastPingAt + CONFIRM_MS;
    const left_ms = at - performance.now();
    if (left_ms <= 0) this.#ping();
    else if (at < this.#delayedUntil) {
      clearTimeout(this.#delayedPing);
      this.#delayedUntil = at;
      this.#delayedPing = setTimeout(this.#pingNow, left_ms).unref();
    }
  }

  /** The last entry that was sent. */
  get sentSeq(): number {
    return this.#sentSeq;
  }

  /** The socket has closed with this code. Acknowledges what the client is then known to have read. */
  closed(code: number): void {
    if (BY_SERVER.includes(code)) this.#claim.acknowledge(this.#sentSeq);
    if (isOrdinaryClose(code)) this.#claim.acknowledge(this.#answeredSeq);
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
    const earliest = this.#lastPingAt - (PING_BURST - 1) * PING_INTERVAL_MS;
    const latest = this.#lastPingAt; // pings after many bytes are not limited
    this.#nextPingAt =
      Math.min(Math.max(this.#nextPingAt, earliest), latest) + PING_INTERVAL_MS;
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
