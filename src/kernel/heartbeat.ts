/**
 * Is the kernel still there? Sends bytes to its echo and reports when they
 * stop coming back, and when they come back again.
 *
 * Silence is information, never a reason to end a kernel whose process lives.
 * A gap in our own clock (a laptop that slept, a stopped process) is forgiven.
 */
import { randomBytes } from "node:crypto";
import type { Boundary } from "./boundary.ts";
import type { CurveKeys, Link, LinkState } from "../zmq/transport.ts";

/** How long an echo may take. */
const PATIENCE_MS = 5_000;
/** A timer that is this late tells of us, not of the kernel: its echo may be waiting to be read. */
const LATE_MS = 1_000;
/** From an echo to the next question. */
const PAUSE_MS = 2_000;
/** Most bytes that an echo may have: what we send has less than 40. */
const ECHO_LIMIT = 64 * 1024;

export interface HeartbeatOptions {
  readonly boundary: Boundary;
  readonly endpoint: string;
  readonly curve: CurveKeys | undefined;
  /** Called on every change, the first time with what was found first. */
  readonly changed: (beats: boolean) => void;
  /** What answers there is no echo and never will be: it stays silent. */
  readonly givenUp: (why: Error) => void;
  /** Whether silence has an innocent cause just now, such as a kernel that cannot answer while it computes. */
  readonly excused: () => boolean;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #link: Link;
  /** Nobody else's bytes are taken for an echo of ours. */
  readonly #name = randomBytes(8).toString("hex");
  #beat = 0;
  #isAnswered = false;
  #isOver = false;
  #beats: boolean | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    const { boundary, endpoint, curve } = options;
    this.#link = boundary.connect("hb", {
      type: "dealer",
      endpoint,
      limit: ECHO_LIMIT,
      ...(curve !== undefined && { curve }),
      onMessage: (frames) => this.#heard(frames.at(-1)),
      onState: (state, error) => this.#moved(state, error),
    });
    this.#ask();
  }

  close(): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#link.close();
  }

  #ask(): void {
    if (this.#isOver) return;
    this.#beat += 1;
    this.#isAnswered = false;
    // Where nobody listens, one question that waits is enough.
    if (this.#link.waiting === 0) {
      // An empty frame first is how a dealer speaks to a REP socket, and unlike a REQ it may ask again after a silence.
      this.#link.send([EMPTY, Buffer.from(`${this.#name} ${this.#beat}`)]);
    }
    const asked = performance.now();
    this.#timer = setTimeout(() => {
      const late = performance.now() - asked - PATIENCE_MS;
      if (late < LATE_MS && !this.#options.excused()) this.#say(false);
      this.#ask();
    }, PATIENCE_MS);
    this.#timer.unref();
  }

  #heard(frame: Uint8Array | undefined): void {
    const beat = this.#beatIn(frame);
    if (beat === undefined) return;
    // A late echo is of an older beat; it still proves that somebody is there.
    this.#say(true);
    if (beat !== this.#beat || this.#isAnswered) return;
    this.#isAnswered = true;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
    this.#timer.unref();
  }

  /** Which of ours it echoes, if any. */
  #beatIn(frame: Uint8Array | undefined): number | undefined {
    if (frame === undefined || frame.length > 40) return undefined;
    const [name, number] = Buffer.from(frame).toString("latin1").split(" ");
    const beat = Number(number);
    const isOurs = name === this.#name && beat >= 1 && beat <= this.#beat;
    return isOurs ? beat : undefined;
  }

  #moved(state: LinkState, error: Error | undefined): void {
    if (state !== "closed" || error === undefined) return;
    this.close();
    this.#options.givenUp(error);
    this.#say(false);
  }

  #say(beats: boolean): void {
    if (this.#beats === beats) return;
    this.#beats = beats;
    this.#options.changed(beats);
  }
}

const EMPTY = new Uint8Array();
