/**
 * Is the kernel still there? Sends bytes to its echo and reports when they
 * stop coming back, and when they come back again.
 *
 * Silence is information, never a reason to end a kernel whose process lives.
 * A gap in our own clock (a laptop that slept, a stopped process) is forgiven.
 */
import { randomBytes } from "node:crypto";
import type { Boundary } from "./boundary.ts";
import type { CurveKeys } from "../zmq/transport.ts";

/** How long an echo may take. */
const TIMEOUT_MS = 5_000;
/** A timer that is this late tells of us, not of the kernel: its echo may be waiting to be read. */
const LATE_MS = 1_000;
/** From an echo to the next question. */
const INTERVAL_MS = 2_000;
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
  readonly isSilenceExpected: () => boolean;
}

/** Until it is closed. */
export interface Heartbeat {
  close(): void;
}

export function watchHeartbeat({
  boundary,
  endpoint,
  curve,
  changed,
  givenUp,
  isSilenceExpected,
}: HeartbeatOptions): Heartbeat {
  /** Nobody else's bytes are taken for an echo of ours. */
  const name = randomBytes(8).toString("hex");
  let last = 0;
  let isAnswered = false;
  let isOver = false;
  let reported: boolean | undefined;
  let timer: NodeJS.Timeout | undefined;

  const report = (beats: boolean): void => {
    if (reported === beats) return;
    reported = beats;
    changed(beats);
  };
  const schedule = (action: () => void, delay_ms: number): void => {
    clearTimeout(timer);
    timer = setTimeout(action, delay_ms);
    timer.unref();
  };
  const sendBeat = (): void => {
    if (isOver) return;
    last += 1;
    isAnswered = false;
    // Where nobody listens, one question that waits is enough.
    if (link.waiting === 0) {
      // An empty frame first is how a dealer speaks to a REP socket, and unlike a REQ it may ask again after a silence.
      link.send([EMPTY, Buffer.from(`${name} ${last}`)]);
    }
    const sentAt = performance.now();
    schedule(() => {
      const late = performance.now() - sentAt - TIMEOUT_MS;
      if (late < LATE_MS && !isSilenceExpected()) report(false);
      sendBeat();
    }, TIMEOUT_MS);
  };
  /** Which of ours it echoes, if any. */
  const beatIn = (frame: Uint8Array | undefined): number | undefined => {
    if (frame === undefined || frame.length > 40) return undefined;
    const [sender, number] = Buffer.from(frame).toString("latin1").split(" ");
    const beat = Number(number);
    return sender === name && beat >= 1 && beat <= last ? beat : undefined;
  };
  const receiveEcho = (frame: Uint8Array | undefined): void => {
    const beat = beatIn(frame);
    if (beat === undefined) return;
    // A late echo is of an older beat; it still proves that somebody is there.
    report(true);
    if (beat !== last || isAnswered) return;
    isAnswered = true;
    schedule(sendBeat, INTERVAL_MS);
  };
  const close = (): void => {
    isOver = true;
    clearTimeout(timer);
    link.close();
  };

  const link = boundary.connect("hb", {
    type: "dealer",
    endpoint,
    limit: ECHO_LIMIT,
    ...(curve !== undefined && { curve }),
    onMessage: (frames) => receiveEcho(frames.at(-1)),
    onState: (state, error) => {
      if (state !== "closed" || error === undefined) return;
      close();
      givenUp(error);
      report(false);
    },
  });
  sendBeat();
  return { close };
}

const EMPTY = new Uint8Array();
