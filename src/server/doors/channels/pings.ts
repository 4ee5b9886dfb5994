/**
 * Asks how far the owner of a channel has come: its pong says that it has read
 * everything sent before the ping. While there is something that it is not
 * known to have read, it is asked again and again, with a pause in between: what
 * has to be said again after a break is what was said within two such pauses,
 * and two round trips.
 *
 * One answer is believed once the next has come: what a broken connection may
 * have made of the last one is not taken for a word of the owner's.
 *
 * An owner that answers no more is cut off, but never for a time in which it
 * was us who did not run.
 */
import type { WebSocket } from "ws";
import type { Guard } from "../../../log/guard.ts";
import type { Claim } from "../../../session/ownership.ts";
import type { FrameWriter } from "../../socket.ts";

export interface PingTimes {
  /** From one ping of the regular kind to the next. */
  readonly every_ms: number;
  /** An answer that is overdue for longer ends the connection. */
  readonly timeout_ms: number;
}

export interface PingOptions extends Partial<PingTimes> {
  readonly guard: Pick<Guard, "around">;
}

const TIMES: PingTimes = { every_ms: 10_000, timeout_ms: 40_000 };
/** Under traffic a ping rides along at least this often, though earlier ones are unanswered. */
const PING_BYTES = 32 * 1024;
/** From one question to the next: each costs a write and a read, here and there. */
const MIN_PING_INTERVAL_MS = 50;

export class Pings {
  readonly #socket: WebSocket;
  readonly #frames: Pick<FrameWriter, "flush">;
  readonly #claim: Pick<Claim, "acknowledge">;
  readonly #times: PingTimes;
  readonly #timer: NodeJS.Timeout;
  /** Ping number to the last entry sent before it, oldest first. */
  readonly #unanswered = new Map<bigint, { seq: number; at: number }>();
  #count = 0n;
  /** The last that was sent. */
  #sentSeq = 0;
  /** The last that a ping was sent after. */
  #pingedSeq = 0;
  /** The last that a pong was about. */
  #answeredSeq = 0;
  /** The last that is known to have been read. */
  #acknowledgedSeq = 0;
  #bytes = 0;
  #lastPingAt = -Infinity;
  #delayedPing: NodeJS.Timeout | undefined;
  readonly #pingNow: () => void;

  /** When the timer is to fire. */
  #due: number;

  constructor(
    socket: WebSocket,
    frames: Pick<FrameWriter, "flush">,
    claim: Pick<Claim, "acknowledge">,
    { guard, ...times }: PingOptions,
  ) {
    this.#socket = socket;
    this.#frames = frames;
    this.#claim = claim;
    this.#times = { ...TIMES, ...times };
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

  /** Everything up to `seq` has been heard before. */
  startAfter(seq: number): void {
    this.#sentSeq = seq;
    this.#pingedSeq = seq;
    this.#answeredSeq = seq;
    this.#acknowledgedSeq = seq;
  }

  /** An entry is on its way to the client. */
  sent(seq: number, bytes: number): void {
    this.#sentSeq = seq;
    this.#bytes += bytes;
    if (this.#bytes >= PING_BYTES) this.#ping();
  }

  /** Now, whatever is asked already. */
  pingForRest(): void {
    if (this.#sentSeq > this.#pingedSeq) this.#ping();
  }

  /** The client has read everything that was sent. */
  acknowledgeAll(): void {
    this.#claim.acknowledge(this.#sentSeq);
  }

  /** Unless it is asked already, or there is nothing that is not known; after a pause. */
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
      this.#socket.terminate();
    } else this.#ping();
  }

  /** We were stopped, or slept, for so long: answers may lie there that we have not read. */
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
    this.#frames.flush(); // it says that what was sent before it has been read
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
    // Pongs come in order, and a client may answer only the last of several pings.
    for (const earlier of this.#unanswered.keys()) {
      if (earlier > number) break;
      this.#unanswered.delete(earlier);
    }
    this.requestAcknowledgement();
  }
}
