/**
 * Who asks: made once for each request and each connection, where it comes in,
 * and handed on to whatever it causes. It never holds the token.
 */
import { type RequestingClient, Scope } from "../../contract/index.ts";

export interface Principal {
  /** What it may ask. */
  readonly scopes: ReadonlySet<Scope>;
  /** The program that asks, where it says what it is. */
  readonly client: RequestingClient | null;
  /** By which a log line and an answer find each other. */
  readonly span_id: string;
}

export const EVERYTHING: ReadonlySet<Scope> = new Set(Scope.options);
export const NOTHING: ReadonlySet<Scope> = new Set();
