/**
 * The typed operations with the interface of tRPC's own client:
 * `trpc.sessions.get.query(input)`.
 *
 * It replaces tRPC's client, which is several times as large, and which needs the
 * TypeScript compiler for its types. Calls follow tRPC's protocol, so this client
 * works with tRPC's server, and tRPC's client with this server.
 */
import type { TRPCClient } from "@trpc/client";
import type { AppRouter } from "../contract/index.ts";
import { type Call, CallError, type Follower } from "./call.ts";
import type { Connection, ConnectionState } from "./connection.ts";
import { Queue } from "./queue.ts";

interface Options {
  readonly signal?: AbortSignal | undefined;
}

interface SubscribeOptions extends Options {
  onStarted?(opts: { context: undefined }): void;
  onData?(data: unknown): void;
  onError?(error: CallError): void;
  onStopped?(): void;
  onComplete?(): void;
  onConnectionStateChange?(state: unknown): void;
}

const METHODS = {
  query: "query",
  mutate: "mutation",
  subscribe: "subscription",
} as const;

/** The key by which libraries that build upon tRPC's client find the untyped client. */
const UNTYPED = Symbol.for("trpc_untypedClient");

/** `callOnce` makes calls with one answer. Subscriptions use the connection. */
export function typedClient(
  connection: Connection,
  callOnce: (call: Call) => Promise<unknown>,
): TRPCClient<AppRouter> {
  const untyped = {
    runtime: {},
    query: (path: string, input: unknown, { signal }: Options = {}) =>
      callOnce({ type: "query", path, input, signal }),
    mutation: (path: string, input: unknown, { signal }: Options = {}) =>
      callOnce({ type: "mutation", path, input, signal }),
    subscription(path: string, input: unknown, options: SubscribeOptions = {}) {
      const { signal } = options;
      const call: Call = { type: "subscription", path, input, signal };
      return Object.values(options).some(
        (option) => typeof option === "function",
      )
        ? { unsubscribe: subscribed(connection, call, options) }
        : events(connection, call);
    },
  };
  const at = (path: readonly string[]): unknown =>
    new Proxy(() => {}, {
      get(_, name) {
        if (name === UNTYPED) return untyped;
        // So that `await` does not take it for a promise, nor `JSON.stringify` for a value.
        if (typeof name !== "string" || /^(then|toJSON)$/.test(name)) {
          return undefined;
        }
        return at([...path, name]);
      },
      apply(_, _this, [input, options]: [unknown, object | undefined]) {
        const method = METHODS[path.at(-1) as keyof typeof METHODS];
        return untyped[method](path.slice(0, -1).join("."), input, options);
      },
    });
  return at([]) as TRPCClient<AppRouter>;
}

function subscribed(
  connection: Connection,
  call: Call,
  options: SubscribeOptions,
): () => void {
  const report = (state: ConnectionState) =>
    options.onConnectionStateChange?.(trpcStateOf(state, connection.error));
  const unwatch = connection.subscribe(report);
  const leave = connection.follow(call, {
    started: () => options.onStarted?.({ context: undefined }),
    data: (data) => options.onData?.(data),
    stopped: () => options.onStopped?.(),
    ended(error) {
      unwatch();
      if (error === undefined) options.onComplete?.();
      else options.onError?.(error);
    },
  });
  report(connection.state);
  return () => {
    unwatch();
    leave();
  };
}

function trpcStateOf(state: ConnectionState, error: Error | undefined) {
  if (state === "open") return { type: "state", state: "pending", error: null };
  const isOver = state === "closed" || error === undefined;
  return {
    type: "state",
    state: state === "closed" ? "idle" : "connecting",
    error: isOver ? null : CallError.from(error),
  };
}

async function* events(connection: Connection, call: Call) {
  const queue = new Queue<unknown>(Infinity);
  const leave = connection.follow(call, {
    data: (data) => void queue.push(data),
    ended: (error) => queue.end(error),
  } satisfies Follower);
  try {
    yield* queue;
  } finally {
    leave();
  }
}
