/**
 * The caller of an operation. It is made once for each request and connection,
 * and passed on to everything that the request causes. It never holds the token.
 */
import { type RequestingClient, Scope } from "../../contract/index.ts";

/**
 * `token`: the caller has the server's token. `anybody`: the server requires no
 * token. `nobody`: the caller sent no token and calls an open operation. `local`:
 * the caller uses a session's own socket, or is in this process.
 */
export type CallerKind = "token" | "anybody" | "nobody" | "local";

export interface Principal {
  readonly kind: CallerKind;
  /** The scopes that the caller has. */
  readonly scopes: ReadonlySet<Scope>;
  /** The calling program, if it names itself. */
  readonly client: RequestingClient | null;
  /** Links an answer to its telemetry. */
  readonly span_id: string;
}

export const EVERYTHING: ReadonlySet<Scope> = new Set(Scope.options);
export const NOTHING: ReadonlySet<Scope> = new Set();
