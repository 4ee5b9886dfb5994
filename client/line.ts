/**
 * How a client's parts reach the server: the typed operations, the messages
 * that wait in order, and the connection beneath both.
 */
import type { TRPCClient } from "@trpc/client";
import type { AppRouter, ClientMessage } from "../contract/index.ts";
import type { Address } from "./address.ts";
import { type Call, CallError } from "./call.ts";
import { Connection } from "./connection.ts";
import { ConnectionError, toFailure } from "./failure.ts";
import { askByHttp } from "./http.ts";
import { type Letter, type Outbox, outboxOver } from "./outbox.ts";
import { typedClient } from "./trpc.ts";
import { whileWanted } from "./wait.ts";

/** For a question whose answer is lost each time although there is a connection. */
const MOST_ATTEMPTS = 5;

export interface CallOptions {
  /** Stops waiting for the answer; what the server has begun goes on. */
  readonly signal?: AbortSignal;
}

/** A message for a session's kernel. */
export type SessionMessage = ClientMessage & { readonly session_id: string };

export interface Accepted {
  readonly msg_id: string;
  /** Whether the server had it already. */
  readonly repeated: boolean;
}

/** What is said to kernels: its order matters, and it is said again when the socket is lost. */
const IN_ORDER = ["sessions.send", "executions.create", "executions.answer"];

export class Line {
  readonly connection: Connection;
  readonly trpc: TRPCClient<AppRouter>;
  readonly outbox: Outbox;
  readonly #address: Address;

  constructor(address: Address) {
    this.#address = address;
    this.connection = new Connection(address);
    this.trpc = typedClient(this.connection, (call) => this.#ask(call));
    this.outbox = outboxOver(this.connection);
  }

  /** Resolves once the server has taken it. A signal that aborts takes it back where it has not been sent. */
  async post<T>(letter: Letter<T>, { signal }: CallOptions = {}): Promise<T> {
    signal?.throwIfAborted();
    try {
      return await whileWanted(this.outbox.post(letter), signal);
    } catch (error) {
      if (signal?.aborted === true) this.outbox.withdraw(letter.id);
      throw error;
    }
  }

  /** Says a message to the kernel, in order and once. */
  send(message: SessionMessage, options?: CallOptions): Promise<Accepted> {
    const letter = {
      id: message.header.msg_id,
      size: sizeOf(message),
      transmit: (signal: AbortSignal) =>
        this.ask(this.trpc.sessions.send.mutate(message, { signal })),
    };
    return this.post(letter, options);
  }

  /** The answer, or the failure as the contract names it, or the reason of the signal that ended the wait for it. */
  async ask<T>(answer: Promise<T>, { signal }: CallOptions = {}): Promise<T> {
    try {
      return await answer;
    } catch (error) {
      signal?.throwIfAborted();
      throw this.failureIn(error);
    }
  }

  /** As `ask`, once there is a connection, and again where it was lost meanwhile. For questions, which may be asked twice. */
  async askPatiently<T>(question: () => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt += 1) {
      await this.connection.opened();
      try {
        return await this.ask(question());
      } catch (error) {
        const isLost = error instanceof ConnectionError;
        if (!isLost || attempt === MOST_ATTEMPTS) throw error;
      }
    }
  }

  #ask(call: Call): Promise<unknown> {
    const { connection } = this;
    if (IN_ORDER.includes(call.path)) return connection.ask(call);
    const isClosed =
      connection.state === "closed" && connection.error === undefined;
    return isClosed
      ? Promise.reject(CallError.from(connection.closure))
      : askByHttp(this.#address, call);
  }

  /** When we were refused or closed, that is why everything else fails. */
  failureIn(error: unknown): Error {
    const failed = toFailure(error);
    const { connection } = this;
    return connection.state === "closed" && failed instanceof ConnectionError
      ? connection.closure
      : failed;
  }
}

function sizeOf({ content, metadata, buffers }: SessionMessage): number {
  let size = JSON.stringify(content).length;
  if (metadata !== undefined) size += JSON.stringify(metadata).length;
  for (const buffer of buffers ?? []) size += buffer.length;
  return size;
}
