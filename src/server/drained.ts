/**
 * Waits for a reader, as long as it reads something within each timeout. Time in
 * which this process did not run does not count.
 */
import type { EventEmitter } from "node:events";
import type { ServerResponse } from "node:http";
import type { Limits } from "./answers/service.ts";

/** How many bytes may wait in this process for a reader, and how long a reader may read nothing. */
export interface ReaderLimits {
  /** Bytes. */
  readonly limit: number;
  readonly timeout_ms: number;
}

/** The server's settings. */
export function readerLimitsOf({
  reader_buffer_bytes: limit,
  reader_timeout_ms: timeout_ms,
}: Limits): ReaderLimits {
  return { limit, timeout_ms };
}

export interface PendingOutput {
  /** Bytes that wait in this process; `undefined` when the connection is closed. */
  waiting(): number | undefined;
  /** Emits `drain`. */
  readonly stream: EventEmitter;
  /** Emits `close`. */
  readonly socket: EventEmitter;
}

/** The interval of checks whether the reader has read something. */
const STEP_MS = 1_000;

/** Resolves with true when less than `limit` bytes wait or the connection is closed; with false if the reader has read nothing for `timeout_ms`. */
export async function drainedBelow(
  outgoing: PendingOutput,
  { limit, timeout_ms }: ReaderLimits,
): Promise<boolean> {
  let left = timeout_ms;
  let before = outgoing.waiting();
  while (before !== undefined && before >= limit) {
    const began = performance.now();
    const step_ms = Math.min(left, STEP_MS);
    await drainOrClose(outgoing, step_ms);
    const now = outgoing.waiting();
    if (now === undefined) return true;
    if (now < before) left = timeout_ms;
    // If a step takes longer than its time, this process was late, not the reader.
    else left -= Math.min(performance.now() - began, step_ms);
    before = now;
    if (left <= 0) return before < limit;
  }
  return true;
}

/** Resolves with true when the client of a response is ready for more; with false when it has left. A client that reads nothing for `timeout_ms` is disconnected. */
export async function drained(
  res: ServerResponse,
  timeout_ms: number,
): Promise<boolean> {
  const waiting = () => (res.destroyed ? undefined : res.writableLength);
  const limit = Math.max(res.writableHighWaterMark, 1);
  const outgoing = { waiting, stream: res, socket: res };
  if (!(await drainedBelow(outgoing, { limit, timeout_ms }))) res.destroy();
  return !res.destroyed;
}

function drainOrClose(
  { stream, socket }: PendingOutput,
  timeout_ms: number,
): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      stream.off("drain", done);
      socket.off("close", done);
      resolve();
    };
    const timer = setTimeout(done, timeout_ms);
    stream.once("drain", done);
    socket.once("close", done);
  });
}
