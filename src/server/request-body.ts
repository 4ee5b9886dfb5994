/**
 * Reads the body of a request, with limits on size and time. A refused body is
 * still read for a while, and discarded, so that the client can read the answer.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { failure, SupervisorError } from "../../contract/index.ts";
import { limits } from "../../contract/limits.ts";
import { joined } from "../jupyter/pieces.ts";
import { requestScheduler } from "../time/request-scheduler.ts";

/** How long the rest of a body is read after the request was answered. */
export const LINGER_MS = 5_000;

/** Requests whose client waits for `100 Continue` before it sends the body. */
const awaitingContinue = new WeakSet<IncomingMessage>();

/** For requests with `Expect: 100-continue`: the server answers before the client sends the body. */
export function markAwaitsContinue(req: IncomingMessage): void {
  awaitingContinue.add(req);
}

/** Whether the client still waits for `100 Continue`. */
export function awaitsContinue(req: IncomingMessage): boolean {
  return awaitingContinue.has(req);
}

export interface BodyTimeouts {
  readonly idle_ms: number;
  readonly total_ms: number;
}

const TIMEOUTS: BodyTimeouts = {
  idle_ms: limits.body_idle_timeout_ms,
  total_ms: limits.body_timeout_ms,
};

/** Throws `too_large`, `request_timeout`, `bad_request`. */
export async function bodyOf(
  req: IncomingMessage,
  res: ServerResponse,
  timeouts: BodyTimeouts = TIMEOUTS,
): Promise<Buffer> {
  const limit = limits.body_bytes;
  if (Number(req.headers["content-length"] ?? 0) > limit) {
    throw failure("too_large", { limit });
  }
  if (awaitingContinue.delete(req)) res.writeContinue();
  const chunks = req[Symbol.asyncIterator]() as AsyncIterator<
    Buffer,
    undefined
  >;
  const pieces: Buffer[] = [];
  const ends = performance.now() + timeouts.total_ms;
  let size = 0;
  try {
    for (;;) {
      const left_ms = Math.min(timeouts.idle_ms, ends - performance.now());
      const { done, value } = await chunkWithin(
        chunks.next(),
        left_ms,
        timeouts,
      );
      if (done === true) return await requestScheduler.run(joined(pieces));
      size += value.length;
      if (size > limit) throw failure("too_large", { limit });
      pieces.push(value);
    }
  } catch (cause) {
    if (!(cause instanceof SupervisorError)) {
      throw failure("bad_request", { why: "The body broke off" }, { cause });
    }
    void drain(chunks);
    throw cause;
  }
}

function chunkWithin<T>(
  next: Promise<T>,
  left_ms: number,
  { idle_ms, total_ms }: BodyTimeouts,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = setTimeout(
      () => {
        const why = `The body did not arrive in time: at most ${idle_ms / 1000} s may pass without data, and ${total_ms / 1000} s in all`;
        reject(failure("request_timeout", { why }));
      },
      Math.max(left_ms, 0),
    );
    next.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function drain(chunks: AsyncIterator<Buffer, undefined>): Promise<void> {
  try {
    while ((await chunks.next()).done !== true);
  } catch {
    // The connection is closed, so nothing more arrives.
  }
}

/**
 * Ends a response whose length has been sent. If the request's body is still
 * arriving, its rest is read for a while first: a connection that is closed while
 * data arrives is reset, and the client never reads the response.
 */
export function endAfterBody(res: ServerResponse, answer: Buffer): void {
  const { req } = res;
  if (!hasBody(req) || req.complete || awaitsContinue(req)) {
    res.end(answer);
    return;
  }
  res.write(answer);
  if (req.listenerCount("readable") === 0) req.resume();
  const end = () => {
    clearTimeout(timer);
    res.end();
  };
  const timer = setTimeout(end, LINGER_MS);
  req.once("end", end);
  req.once("close", end);
}

function hasBody({ headers }: IncomingMessage): boolean {
  const length = headers["content-length"] ?? "0";
  return headers["transfer-encoding"] !== undefined || length !== "0";
}

/** After the response, the rest of the request's body is read for a while; then the connection is closed. */
export function lingerAfter(req: IncomingMessage, res: ServerResponse): void {
  res.once("finish", () => {
    if (req.complete) return;
    const timer = setTimeout(() => req.socket.destroy(), LINGER_MS);
    timer.unref();
    req.once("end", () => clearTimeout(timer));
    req.once("close", () => clearTimeout(timer));
  });
}
