/**
 * REST over TCP or a Unix socket, byte for byte: the answer has its status,
 * headers and text, and its parsed JSON if it is JSON. Every request has a
 * timeout.
 */
import { request as httpRequest } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

import { refute, shown } from "./check.ts";

export type Address =
  | { readonly socketPath: string }
  | { readonly host: string; readonly port: number };

export interface Call {
  /** Sent as JSON; `raw` is sent unchanged. */
  readonly body?: unknown;
  readonly raw?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeout_ms?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The parsed body; undefined if it is not JSON. */
  readonly body: unknown;
}

export function request(
  address: Address,
  method: string,
  path: string,
  call: Call = {},
): Promise<Answer> {
  const { timeout_ms = 15_000 } = call;
  const payload =
    call.raw ?? (call.body === undefined ? "" : JSON.stringify(call.body));
  const { promise, resolve, reject } = settled<Answer>();
  const outgoing = httpRequest({
    ...address,
    method,
    path,
    agent: false,
    headers: {
      ...("socketPath" in address ? { host: "localhost" } : {}),
      ...(payload === ""
        ? {}
        : { "content-length": Buffer.byteLength(payload) }),
      ...(call.body === undefined
        ? {}
        : { "content-type": "application/json" }),
      ...call.headers,
    },
  });
  const timer = setTimeout(() => {
    outgoing.destroy(
      new Error(`${method} ${path}: no answer within ${timeout_ms} ms`),
    );
  }, timeout_ms);
  outgoing.on("error", reject);
  outgoing.on("response", (incoming) => {
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("error", reject);
    incoming.on("end", () => {
      const text = Buffer.concat(chunks).toString();
      resolve({
        status: incoming.statusCode ?? 0,
        headers: incoming.headers,
        text,
        body: parsed(text),
      });
    });
  });
  outgoing.end(payload);
  return promise.finally(() => {
    clearTimeout(timer);
  });
}

/** Writes the pieces unchanged, one after the other, and reads until `enough` holds or the server closes the connection. */
export async function talk(
  { host, port }: Extract<Address, { readonly port: number }>,
  pieces: readonly string[],
  enough: RegExp,
): Promise<string> {
  const socket = connect(port, host);
  const { promise, resolve, reject } = settled<string>();
  let received = "";
  socket.on("data", (chunk: Buffer) => {
    received += chunk.toString();
    if (enough.test(received)) resolve(received);
  });
  socket.on("end", () => {
    resolve(received);
  });
  socket.on("error", reject);
  socket.setTimeout(15_000, () => {
    reject(new Error(`${shown(pieces[0])}: heard ${shown(received)} so far`));
  });
  try {
    for (const piece of pieces) {
      socket.write(piece);
      await sleep(20); // so that it arrives alone
    }
    return await promise;
  } finally {
    socket.destroy();
  }
}

/** Repeats the request, at intervals, until the answer satisfies. */
export async function until<T>(
  what: string,
  ask: () => Promise<T>,
  options: {
    readonly holds: (seen: T) => boolean;
    readonly within_ms?: number;
  },
): Promise<T> {
  const { within_ms = 10_000 } = options;
  const end = Date.now() + within_ms;
  for (;;) {
    const seen = await ask();
    if (options.holds(seen)) return seen;
    if (Date.now() > end)
      refute(`${what}: not within ${within_ms} ms; last seen ${shown(seen)}`);
    await sleep(50);
  }
}

export function parsed(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // an answer may also be no JSON
  }
}

export interface Settled<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: Error) => void;
}

export function settled<T>(): Settled<T> {
  let resolve!: (value: T) => void;
  let reject!: (reason: Error) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
