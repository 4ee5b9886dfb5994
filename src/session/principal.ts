/**
 * Who asks: made once for each request and each connection, where it comes in,
 * and handed on to whatever it causes. It never holds the token.
 */
import { type RequestingClient, Scope } from "../../contract/index.ts";

/**
 * `token`: holds the server's. `anybody`: the server asks for no token. `nobody`:
 * showed no token, and asks what is open. `local`: came by a session's own
 * socket, or from within the process.
 */
export type CallerKind = "token" | "anybody" | "nobody" | "local";

export interface Principal {
  readonly who: CallerKind;
  /** What it may ask. */
  readonly scopes: ReadonlySet<Scope>;
  /** The program that asks, where it says what it is. */
  readonly client: RequestingClient | null;
  /** By which an answer and what is told of it find each other. */
  readonly span_id: string;
}

export const EVERYTHING: ReadonlySet<Scope> = new Set(Scope.options);
export const NOTHING: ReadonlySet<Scope> = new Set();
