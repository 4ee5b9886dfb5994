/**
 * Is the kernel still there? Sends bytes to its echo and reports when they
 * stop coming back, and when they come back again.
 *
 * Silence is information, never a reason to end a kernel whose process lives.
 * A gap in our own clock (a laptop that slept, a stopped process) is forgiven.
 */
import type { KernelTransport, Link } from "./transport.ts";

/** How long an echo may take. */
const PATIENCE_MS = 5_000;
/** A timer that is this late tells of us, not of the kernel: its echo may be waiting to be read. */
const LATE_MS = 1_000;
/** From an echo to the next question. */
const PAUSE_MS = 2_000;

export interface HeartbeatOptions {
  readonly transport: KernelTransport;
  readonly endpoint: string;
  readonly curve?: { readonly publicKey: string; readonly secretKey: string };
  /** Called on every change, the first time with what was found first. */
  readonly changed: (beats: boolean) => void;
  /** Whether silence has an innocent cause just now, such as a kernel that cannot answer while it computes. */
  readonly excused: () => boolean;
}

export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #link: Link;
  #beat = 0;
  #beats: boolean | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#link = options.transport.connect({
      type: "dealer",
      endpoint: options.endpoint,
      ...(options.curve !== undefined && { curve: options.curve }),
      onMessages: (batch) => {
        for (const frames of batch) this.#heard(frames.at(-1));
      },
    });
    this.#ask();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#link.close();
  }

  #ask(): void {
    this.#beat += 1;
    // An empty frame first is how a dealer speaks to a REP socket, and unlike a REQ it may ask again after a silence.
    this.#link.send([EMPTY, Buffer.from(`beat ${this.#beat}`)]);
    const asked = performance.now();
    this.#timer = setTimeout(() => {
      const late = performance.now() - asked - PATIENCE_MS;
      if (late < LATE_MS && !this.#options.excused()) this.#say(false);
      this.#ask();
    }, PATIENCE_MS);
    this.#timer.unref();
  }

  #heard(echo: Uint8Array | undefined): void {
    // A late echo is of an older beat; it still proves that somebody is there.
    if (echo === undefined) return;
    this.#say(true);
    if (Buffer.from(echo).toString() !== `beat ${this.#beat}`) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ask(), PAUSE_MS);
    this.#timer.unref();
  }

  #say(beats: boolean): void {
    if (this.#beats === beats) return;
    this.#beats = beats;
    this.#options.changed(beats);
  }
}

const EMPTY = new Uint8Array();
