/**
 * The link to the server that all parts of a client share: the typed operations,
 * the queue of messages, and the connection below both.
 */
import type { TRPCClient } from "@trpc/client";
import type { AppRouter, ClientMessage } from "../contract/index.ts";
import type { Address } from "./address.ts";
import { CallError } from "./call.ts";
import { Connection } from "./connection.ts";
import { ConnectionError, toFailure } from "./failure.ts";
import { callByHttp } from "./http.ts";
import { type OutboxMessage, Outbox } from "./outbox.ts";
import { typedClient } from "./trpc.ts";
import { unlessAborted } from "./wait.ts";

/** Attempts of a query whose answer is lost each time although there is a connection. */
const MAX_ATTEMPTS = 5;

export interface CallOptions {
  /** Stops the wait for the answer; the server continues what it has begun. */
  readonly signal?: AbortSignal;
}

/** A message for a session's kernel. */
export type SessionMessage = ClientMessage & { readonly session_id: string };

export interface Accepted {
  readonly msg_id: string;
  /** Whether the server had the message already. */
  readonly repeated: boolean;
}

/** Operations that send messages to kernels: they keep their order, and are sent again after a lost connection. */
const IN_ORDER = ["sessions.send", "executions.create", "executions.answer"];

export interface ServerLink {
  readonly connection: Connection;
  readonly trpc: TRPCClient<AppRouter>;
  /** Resolves when the server has accepted the message. An aborted signal withdraws it unless it was sent. */
  post<T>(message: OutboxMessage<T>, options?: CallOptions): Promise<T>;
  /** Withdraws a message. False if it may have reached the server. */
  withdraw(id: string): boolean;
  /** Sends a message to the kernel, in order and once. */
  send(message: SessionMessage, options?: CallOptions): Promise<Accepted>;
  /** Resolves with the result of a call. Rejects with the contract's failure, or with the reason of an aborted signal. */
  result<T>(call: Promise<T>, options?: CallOptions): Promise<T>;
  /** The same, but waits for a connection, and repeats the query if the connection is lost. For queries that may be repeated. */
  retry<T>(query: () => Promise<T>): Promise<T>;
  /** The failure of an error. After the client was refused or closed, the reason of that. */
  failureIn(error: unknown): Error;
}

export function linkTo(address: Address): ServerLink {
  const connection = new Connection(address);
  const outbox = new Outbox(connection);
  const trpc = typedClient(connection, (call) => {
    if (IN_ORDER.includes(call.path)) return connection.call(call);
    const isClosed =
      connection.state === "closed" && connection.error === undefined;
    return isClosed
      ? Promise.reject(CallError.from(connection.closure))
      : callByHttp(address, call);
  });
  const failureIn = (error: unknown): Error => {
    const failed = toFailure(error);
    return connection.state === "closed" && failed instanceof ConnectionError
      ? connection.closure
      : failed;
  };
  const result = async <T>(
    call: Promise<T>,
    { signal }: CallOptions = {},
  ): Promise<T> => {
    try {
      return await call;
    } catch (error) {
      signal?.throwIfAborted();
      throw failureIn(error);
    }
  };
  const post = async <T>(
    message: OutboxMessage<T>,
    { signal }: CallOptions = {},
  ): Promise<T> => {
    signal?.throwIfAborted();
    try {
      return await unlessAborted(outbox.post(message), signal);
    } catch (error) {
      if (signal?.aborted === true) outbox.withdraw(message.id);
      throw error;
    }
  };
  return {
    connection,
    trpc,
    post,
    withdraw: (id) => outbox.withdraw(id),
    send(message, options) {
      const outgoing = {
        id: message.header.msg_id,
        size: sizeOf(message),
        transmit: (signal: AbortSignal) =>
          result(trpc.sessions.send.mutate(message, { signal })),
      };
      return post(outgoing, options);
    },
    result,
    async retry(query) {
      for (let attempt = 1; ; attempt += 1) {
        await connection.opened();
        try {
          return await result(query());
        } catch (error) {
          const isLost = error instanceof ConnectionError;
          if (!isLost || attempt === MAX_ATTEMPTS) throw error;
        }
      }
    },
    failureIn,
  };
}

function sizeOf({ content, metadata, buffers }: SessionMessage): number {
  let size = JSON.stringify(content).length;
  if (metadata !== undefined) size += JSON.stringify(metadata).length;
  for (const buffer of buffers ?? []) size += buffer.length;
  return size;
}
