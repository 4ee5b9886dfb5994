/**
 * How a client's parts reach the server: the typed operations, the messages
 * that wait in order, and the connection beneath both.
 */
import { createTRPCClient, httpLink, splitLink } from "@trpc/client";
import type { TRPCClient } from "@trpc/client";
import type { AppRouter } from "../contract/index.ts";
import type { Address } from "./address.ts";
import { Connection } from "./connection.ts";
import { ConnectionError, toFailure } from "./failure.ts";
import { Outbox } from "./outbox.ts";

/** For a question whose answer is lost each time although there is a connection. */
const MOST_ATTEMPTS = 5;

export interface CallOptions {
  /** Stops waiting for the answer; what the server has begun goes on. */
  readonly signal?: AbortSignal;
}

export class Line {
  readonly connection: Connection;
  readonly trpc: TRPCClient<AppRouter>;
  readonly outbox: Outbox;

  constructor(address: Address) {
    const { trpc, headers, fetch } = address;
    this.connection = new Connection(address);
    this.trpc = createTRPCClient<AppRouter>({
      links: [
        splitLink({
          // Order matters for what is said to a kernel; the rest does not suffer when the socket is lost.
          condition: ({ type, path }) =>
            type === "subscription" || path === "sessions.send",
          true: this.connection.link(),
          // One request each: in a batch, the fast would wait for the slow.
          false: httpLink({ url: trpc, headers, fetch: fetch as never }),
        }),
      ],
    });
    this.outbox = new Outbox(this.connection, (letter, signal) =>
      this.ask(this.trpc.sessions.send.mutate(letter, { signal })),
    );
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

  /** When we were refused or closed, that is why everything else fails. */
  failureIn(error: unknown): Error {
    const failed = toFailure(error);
    const { connection } = this;
    return connection.state === "closed" && failed instanceof ConnectionError
      ? connection.closure
      : failed;
  }
}
