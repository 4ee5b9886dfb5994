/**
 * Access control: decided once, before any door and before any upgrade.
 *
 * Three checks, in this order. Does `Host` name this server, or has a DNS name
 * been rebound to its address? Is the page that sends the request from a known
 * `Origin`? Does the request have the token, if one is needed?
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { failure, type Scope } from "../../contract/index.ts";
import { EVERYTHING, NOTHING, type Principal } from "../session/principal.ts";
import type { Cookies } from "./cookies.ts";
import { admit } from "./principal.ts";
import { tokenInSubprotocols } from "./subprotocol.ts";

export interface GateOptions {
  /** `undefined`: no token is needed; the other checks remain. */
  readonly token: string | undefined;
  /** Whether another token is accepted, which somebody else has given out. Asked if a request does not have the token itself. Default: none is. */
  readonly acceptsToken?: ((token: string) => Promise<boolean>) | undefined;
  /** Additional host names that clients may use for the server, without port; `*`: all, if a token is needed. */
  readonly hosts: readonly string[];
  /** Other origins whose pages may use the server, such as `http://localhost:5173`; `*`: all. */
  readonly origins: readonly string[];
  /** The cookies that stand for the token. Default: none. */
  readonly cookies?: Cookies | undefined;
  /** Whether the server listens on a Unix socket or a pipe: those have no name that could be rebound. */
  readonly isLocal: boolean;
  /** The scopes of an admitted client. Default: all. */
  readonly scopesOf?: ((req: IncomingMessage) => Iterable<Scope>) | undefined;
}

export interface Gate {
  /** Admits the client of a request, and remembers it. A promise only if somebody else is asked about its token. Throws `forbidden`, `unauthorized`. */
  admit(
    req: IncomingMessage,
    url: URL,
    isOpen: boolean,
  ): Principal | Promise<Principal>;
  /** Cookies for the page that sends a request. Empty unless it shows the token in its address. */
  cookiesFor(req: IncomingMessage, url: URL): readonly string[];
  /** The origin that may read the responses, if it is not the server's own. */
  allowedOrigin(req: IncomingMessage): string | undefined;
}

export function gateOf(options: GateOptions): Gate {
  const { token, acceptsToken, origins, cookies, scopesOf } = options;
  const expected = token === undefined ? undefined : digest(token);
  const isListed = (origin: string) =>
    origins.includes("*") || origins.includes(origin);
  // All digests have the same length, so the time of the comparison reveals nothing.
  const hasToken = (req: IncomingMessage, url: URL): boolean =>
    expected !== undefined &&
    timingSafeEqual(digest(tokenIn(req, url)), expected);
  const admitted = (req: IncomingMessage): Principal => {
    const kind = expected === undefined ? "anybody" : "token";
    return admit(req, kind, new Set(scopesOf?.(req) ?? EVERYTHING));
  };
  const withoutToken = (req: IncomingMessage, isOpen: boolean): Principal => {
    if (isOpen) return admit(req, "nobody", NOTHING);
    throw failure("unauthorized", {});
  };
  return {
    admit(req, url, isOpen) {
      if (!options.isLocal) assertHost(req, options);
      const { origin, host = "" } = req.headers;
      const isKnown =
        origin !== undefined &&
        (isListed(origin) || isSameOrigin(origin, host));
      if (origin !== undefined && !isKnown) {
        const why =
          "The page has another origin: to allow it, use --allow-origin";
        throw failure("forbidden", { why });
      }
      if (
        expected === undefined ||
        hasToken(req, url) ||
        cookies?.admits(req, url, isKnown) === true
      ) {
        return admitted(req);
      }
      const other = tokenIn(req, url);
      if (acceptsToken === undefined || other === "") {
        return withoutToken(req, isOpen);
      }
      return acceptsToken(other).then((isAccepted) =>
        isAccepted ? admitted(req) : withoutToken(req, isOpen),
      );
    },

    cookiesFor(req, url) {
      const isPage = req.method === "GET" && url.searchParams.has("token");
      return isPage && hasToken(req, url) ? (cookies?.headers ?? []) : [];
    },

    allowedOrigin({ headers: { origin } }) {
      return origin !== undefined && isListed(origin) ? origin : undefined;
    },
  };
}

/** Rebinding a name gives a page no token, so any name may be allowed where one is needed. */
function assertHost(
  { headers: { host } }: IncomingMessage,
  { hosts, token }: GateOptions,
): void {
  if (host === undefined) return; // HTTP/1.0 has no Host; no browser is that old
  if (token !== undefined && hosts.includes("*")) return;
  const name = nameOf(host);
  if (isLoopback(name) || hosts.includes(name)) return;
  const why =
    "The Host header names another machine: use localhost, or allow the name with --allow-host";
  throw failure("forbidden", { why });
}

function tokenIn({ headers }: IncomingMessage, url: URL): string {
  const { authorization = "" } = headers;
  const bearer = /^(?:bearer|token) +(.+)$/i.exec(authorization)?.[1];
  return (
    bearer ??
    url.searchParams.get("token") ??
    tokenInSubprotocols(headers["sec-websocket-protocol"]) ??
    ""
  );
}

/**
 * Whether the page has the address to which it sends the request. Behind a TLS
 * proxy the page's scheme is `https`: only the proxy's own pages have that scheme
 * and our `Host`, which has been checked before.
 */
function isSameOrigin(origin: string, host: string): boolean {
  const [, scheme = "", authority = ""] =
    /^(https?):\/\/([^/?#\s]+)$/i.exec(origin) ?? [];
  const port = scheme.toLowerCase() === "https" ? ":443" : ":80";
  const [page, ours] = [authority, host].map((name) => {
    const lower = name.toLowerCase();
    return lower.endsWith(port) ? lower.slice(0, -port.length) : lower;
  });
  return page !== "" && page === ours;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}

/** `Host` without its port. */
function nameOf(host: string): string {
  return host.replace(/:\d*$/, "").toLowerCase();
}

function isLoopback(name: string): boolean {
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    name === "[::1]" ||
    /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(name)
  );
}
