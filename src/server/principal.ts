/**
 * The client that sends a request: its name, its version and the span, as the
 * request gives them. `x-client` is for programs that cannot set `user-agent`
 * (pages), the query parameter `client` for those that cannot set headers at all
 * (a page's WebSocket).
 */
import type { IncomingMessage } from "node:http";
import type { RequestingClient, Scope } from "../../contract/index.ts";
import {
  type CallerKind,
  NOTHING,
  type Principal,
} from "../session/principal.ts";
import { spanOf } from "./span.ts";

const admitted = new WeakMap<IncomingMessage, Principal>();

/** Remembers the client of a request, and the scopes that it has. */
export function admit(
  req: IncomingMessage,
  kind: CallerKind,
  scopes: ReadonlySet<Scope>,
): Principal {
  const client = clientOf(req);
  const principal = { kind, scopes, client, span_id: spanOf(req) };
  admitted.set(req, principal);
  return principal;
}

/** The client of a request. Before it is admitted, it has no scopes. */
export function principalOf(req: IncomingMessage): Principal {
  return admitted.get(req) ?? admit(req, "nobody", NOTHING);
}

export const CLIENT = "x-client";

function clientOf({
  headers,
  url = "",
}: IncomingMessage): RequestingClient | null {
  const value = headers[CLIENT] ?? inQuery(url) ?? headers["user-agent"];
  return typeof value === "string" ? productIn(value) : null;
}

function inQuery(url: string): string | undefined {
  const at = url.indexOf("?");
  if (at === -1) return undefined;
  return new URLSearchParams(url.slice(at)).get("client") ?? undefined;
}

/** The first product (RFC 9110 §10.1.5), such as `axios/1.7.2`; in a browser's list, the browser. */
function productIn(value: string): RequestingClient | null {
  const browser = BROWSER.exec(value);
  const [, client, version] =
    value.startsWith("Mozilla/") && browser !== null
      ? browser
      : (PRODUCT.exec(value) ?? []);
  return client === undefined ? null : { client, version: version ?? null };
}

const PRODUCT =
  /^([!#$%&'*+.^_`|~\w-]{1,64})(?:\/([!#$%&'*+.^_`|~\w-]{1,64}))?(?![^\s])/;
/** Browsers also name the browsers that they are based on; so the most specific name comes first. */
const BROWSER = /^(?=.*?\b(Electron|Edg|OPR|Firefox|Chrome)\/([\w.]{1,64}))/;
