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
const PAUSE_MS = 50;

export class Pings {
  readonly #socket: WebSocket;
  readonly #frames: Pick<FrameWriter, "flush">;
  readonly #claim: Pick<Claim, "heard">;
  readonly #times: PingTimes;
  readonly #timer: NodeJS.Timeout;
  /** Ping number to the last entry sent before it, oldest first. */
  readonly #asked = new Map<bigint, { seq: number; at: number }>();
  #count = 0n;
  /** The last that was sent. */
  #seq = 0;
  /** The last that a ping was sent after. */
  #askedFor = 0;
  /** The last that a pong was about. */
  #answered = 0;
  /** The last that is known to have been read. */
  #believed = 0;
  #bytes = 0;
  #askedAt = -Infinity;
  #askSoon: NodeJS.Timeout | undefined;
  readonly #askNow: () => void;

  /** When the timer is to fire. */
  #due: number;

  constructor(
    socket: WebSocket,
    frames: Pick<FrameWriter, "flush">,
    claim: Pick<Claim, "heard">,
    { guard, ...times }: PingOptions,
  ) {
    this.#socket = socket;
    this.#frames = frames;
    this.#claim = claim;
    this.#times = { ...TIMES, ...times };
    const { every_ms } = this.#times;
    this.#due = performance.now() + every_ms;
    this.#askNow = guard.around("ping", () => {
      this.#askSoon = undefined;
      this.ask();
    });
    const tick = guard.around("ping", () => this.#tick());
    this.#timer = setInterval(tick, every_ms);
    this.#timer.unref();
    const heard = guard.around("pong", (payload: Buffer) =>
      this.#heard(payload),
    );
    socket.on("pong", heard);
    this.#ping();
  }

  /** Everything up to `seq` has been heard before. */
  begin(seq: number): void {
    this.#seq = seq;
    this.#askedFor = seq;
    this.#answered = seq;
    this.#believed = seq;
  }

  /** An entry is on its way to the client. */
  sent(seq: number, bytes: number): void {
    this.#seq = seq;
    this.#bytes += bytes;
    if (this.#bytes >= PING_BYTES) this.#ping();
  }

  /** Now, whatever is asked already. */
  askOnceMore(): void {
    if (this.#seq > this.#askedFor) this.#ping();
  }

  /** The client has read everything that was sent. */
  heardAll(): void {
    this.#claim.heard(this.#seq);
  }

  /** Unless it is asked already, or there is nothing that is not known; after a pause. */
  ask(): void {
    if (this.#asked.size > 0 || this.#seq <= this.#believed) return;
    const left_ms = this.#askedAt + PAUSE_MS - performance.now();
    if (left_ms <= 0) this.#ping();
    else this.#askSoon ??= setTimeout(this.#askNow, left_ms).unref();
  }

  stop(): void {
    clearTimeout(this.#askSoon);
    clearInterval(this.#timer);
  }

  #tick(): void {
    const { every_ms, timeout_ms } = this.#times;
    const now = performance.now();
    const late_ms = now - this.#due;
    this.#due = now + every_ms;
    if (late_ms > every_ms) this.#forgive(late_ms);
    const [oldest] = this.#asked.values();
    if (oldest !== undefined && now - oldest.at > timeout_ms) {
      this.#socket.terminate();
    } else this.#ping();
  }

  /** We were stopped, or slept, for so long: answers may lie there that we have not read. */
  #forgive(late_ms: number): void {
    for (const asked of this.#asked.values()) asked.at += late_ms;
  }

  #ping(): void {
    if (this.#socket.readyState !== this.#socket.OPEN) return;
    this.#count += 1n;
    this.#bytes = 0;
    this.#askedFor = this.#seq;
    this.#askedAt = performance.now();
    this.#asked.set(this.#count, { seq: this.#seq, at: this.#askedAt });
    const payload = Buffer.alloc(8);
    payload.writeBigUInt64BE(this.#count);
    this.#frames.flush(); // it says that what was sent before it has been read
    this.#socket.ping(payload);
  }

  #heard(payload: Buffer): void {
    if (payload.length !== 8) return;
    const number = payload.readBigUInt64BE();
    const asked = this.#asked.get(number);
    if (asked === undefined) return;
    this.#believed = this.#answered;
    this.#answered = asked.seq;
    this.#claim.heard(this.#believed);
    // Pongs come in order, and a client may answer only the last of several pings.
    for (const earlier of this.#asked.keys()) {
      if (earlier > number) break;
      this.#asked.delete(earlier);
    }
    this.ask();
  }
}
