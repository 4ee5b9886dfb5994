/**
 * The heartbeat: sends bytes to the kernel's echo socket, and reports when echoes
 * stop and when they return.
 *
 * A kernel whose heartbeat stops is reported and not ended while its process
 * lives. A gap in the server's own clock (a laptop that slept, a stopped process)
 * does not count.
 */
import { randomBytes } from "node:crypto";
import type { Boundary } from "./boundary.ts";
import type { CurveKeys } from "../zmq/transport.ts";

/** How long an echo may take. */
const TIMEOUT_MS = 5_000;
/** If a timer fires this late, the server's process did not run, and the echo may still be unread. */
const LATE_MS = 1_000;
/** The time from an echo to the next beat. */
const INTERVAL_MS = 2_000;
/** The most bytes of an echo. A beat has less than 40. */
const ECHO_LIMIT = 64 * 1024;

export interface HeartbeatOptions {
  readonly boundary: Boundary;
  readonly endpoint: string;
  readonly curve: CurveKeys | undefined;
  /** Called with the first result, and at every change. */
  readonly changed: (beats: boolean) => void;
  /** Called when the peer is not an echo socket: the heartbeat stays silent. */
  readonly givenUp: (why: Error) => void;
  /** Whether silence is expected now, for example because the kernel cannot answer while it computes. */
  readonly isSilenceExpected: () => boolean;
}

/** Runs until it is closed. */
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
  /** Distinguishes this heartbeat's echoes from those of other senders. */
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
    // Without a listening peer, one waiting beat is enough.
    if (link.waiting === 0) {
      // A dealer sends an empty frame first to a REP socket. Unlike a REQ socket, it may send again without an answer.
      link.send([EMPTY, Buffer.from(`${name} ${last}`)]);
    }
    const sentAt = performance.now();
    schedule(() => {
      const late = performance.now() - sentAt - TIMEOUT_MS;
      if (late < LATE_MS && !isSilenceExpected()) report(false);
      sendBeat();
    }, TIMEOUT_MS);
  };
  /** The number of the beat that the frame echoes, if any. */
  const beatIn = (frame: Uint8Array | undefined): number | undefined => {
    if (frame === undefined || frame.length > 40) return undefined;
    const [sender, number] = Buffer.from(frame).toString("latin1").split(" ");
    const beat = Number(number);
    return sender === name && beat >= 1 && beat <= last ? beat : undefined;
  };
  const receiveEcho = (frame: Uint8Array | undefined): void => {
    const beat = beatIn(frame);
    if (beat === undefined) return;
    // A late echo belongs to an older beat; it still proves that the kernel is there.
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
