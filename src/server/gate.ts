/**
 * Who may come in: decided once, before any door and before any upgrade.
 *
 * Three questions, in this order. Does the request mean us (`Host`), or has a
 * name been rebound to our address? Does it come from a page that we know
 * (`Origin`)? Does it hold the token, where that is needed?
 */
import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { failure, type Scope } from "../../contract/index.ts";
import { EVERYTHING, NOTHING, type Principal } from "../session/principal.ts";
import { admit } from "./principal.ts";

export interface GateOptions {
  /** `undefined` lets everybody in who passes the other questions. */
  readonly token: string | undefined;
  /** Further names by which we may be called, without port. */
  readonly hosts: readonly string[];
  /** Pages of other origins that may ask, such as `http://localhost:5173`; `*` for all. */
  readonly origins: readonly string[];
  /** A Unix socket or a pipe has no name that could be rebound. */
  readonly isLocal: boolean;
  /** What whoever was let in may ask. Default: everything. */
  readonly scopesOf?: ((req: IncomingMessage) => Iterable<Scope>) | undefined;
}

export interface Gate {
  /** Who asks, from now on known as the request's. Throws `forbidden`, `unauthorized`. */
  admit(req: IncomingMessage, url: URL, isOpen: boolean): Principal;
  /** The origin that may read our answers, when it is another than our own. */
  allowedOrigin(req: IncomingMessage): string | undefined;
}

export function gateOf(options: GateOptions): Gate {
  const { token, origins, scopesOf } = options;
  const expected = token === undefined ? undefined : digest(token);
  const isListed = (origin: string) =>
    origins.includes("*") || origins.includes(origin);
  return {
    admit(req, url, isOpen) {
      if (!options.isLocal) assertHost(req, options.hosts);
      const { origin, host = "" } = req.headers;
      if (
        origin !== undefined &&
        !isListed(origin) &&
        !isSameOrigin(origin, host)
      ) {
        const why =
          "The page that asks is of another origin: allow it with --allow-origin";
        throw failure("forbidden", { why });
      }
      // Digests have one length, whatever was given, so the comparison tells nothing by its time.
      if (
        expected === undefined ||
        timingSafeEqual(digest(tokenIn(req, url)), expected)
      ) {
        const who = expected === undefined ? "anybody" : "token";
        return admit(req, who, new Set(scopesOf?.(req) ?? EVERYTHING));
      }
      if (isOpen) return admit(req, "nobody", NOTHING);
      throw failure("unauthorized", {});
    },

    allowedOrigin({ headers: { origin } }) {
      return origin !== undefined && isListed(origin) ? origin : undefined;
    },
  };
}

function assertHost(
  { headers: { host } }: IncomingMessage,
  hosts: readonly string[],
): void {
  if (host === undefined) return; // before HTTP/1.1 there was none; no browser is that old
  const name = nameOf(host);
  if (isLoopback(name) || hosts.includes(name)) return;
  const why =
    "The Host header names another machine: ask for localhost, or allow the name with --allow-host";
  throw failure("forbidden", { why });
}

function tokenIn({ headers }: IncomingMessage, url: URL): string {
  const { authorization = "" } = headers;
  const bearer = /^(?:bearer|token) +(.+)$/i.exec(authorization)?.[1];
  return bearer ?? url.searchParams.get("token") ?? "";
}

/**
 * A page of the address that it asks. Behind a proxy that speaks TLS it is of
 * `https`: no page but the proxy's own has that scheme and our `Host`, which
 * has been looked at before.
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
