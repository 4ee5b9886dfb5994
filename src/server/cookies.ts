/**
 * Cookies, for pages that cannot send the token with everything that they load,
 * such as images. Off unless the server is started with cookies.
 *
 * A request of a page with `?token=` is answered with two cookies: one that
 * only the browser can read, and one that the page repeats in `X-XSRFToken`.
 * Both are made from the token, by a function that cannot be reversed. A
 * browser sends cookies to every port of a host and for pages of every port, so
 * a request that has nothing but the cookie must also show that a page of this
 * server sent it.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { IncomingMessage } from "node:http";

export interface Cookies {
  /** Whether the request has the cookie, and comes from a page of this server. */
  admits(req: IncomingMessage, url: URL, isAllowedOrigin: boolean): boolean;
  /** The cookies for the page that sent this request, as `Set-Cookie` has them. */
  readonly headers: readonly string[];
}

/** `basePath`: the cookies are sent to no other path. `undefined` if no token is needed. */
export function cookiesOf(
  token: string | undefined,
  basePath: string,
): Cookies | undefined {
  if (token === undefined) return undefined;
  const derived = (purpose: string) =>
    createHmac("sha256", token).update(`kallichore ${purpose}`).digest("hex");
  /** Other servers of this machine have other tokens, and so other names. */
  const name = `kallichore-${derived("name").slice(0, 16)}`;
  const access = derived("access");
  const xsrf = derived("xsrf");
  const scope = `Path=${basePath}/; SameSite=Strict`;
  return {
    headers: [
      `${name}=${access}; ${scope}; HttpOnly`,
      `_xsrf=${xsrf}; ${scope}`,
    ],
    admits(req, url, isAllowedOrigin) {
      if (!isEqual(cookieIn(req, name), access)) return false;
      if (isUpgrade(req)) return isAllowedOrigin;
      if (isSafe(req)) return comesFromHere(req);
      const header = req.headers["x-xsrftoken"];
      const shown = header ?? url.searchParams.get("_xsrf") ?? "";
      return isEqual(String(shown), xsrf);
    },
  };
}

/** The cookie that a request has, of all servers of the host. */
function cookieIn({ headers }: IncomingMessage, name: string): string {
  const all = headers.cookie?.split(";") ?? [];
  const prefix = `${name}=`;
  const found = all
    .map((one) => one.trim())
    .find((one) => one.startsWith(prefix));
  return found?.slice(prefix.length) ?? "";
}

/** Both are hexadecimal digests, so their length reveals nothing. */
function isEqual(given: string, expected: string): boolean {
  const [a, b] = [Buffer.from(given), Buffer.from(expected)];
  return a.length === b.length && timingSafeEqual(a, b);
}

function isUpgrade({ headers }: IncomingMessage): boolean {
  return headers.upgrade !== undefined;
}

function isSafe({ method }: IncomingMessage): boolean {
  return method === "GET" || method === "HEAD";
}

/** Since 2020 (Safari: 2023), browsers send the site of the page with a request; a page of another port counts as `same-site`. */
function comesFromHere({ headers }: IncomingMessage): boolean {
  const site = headers["sec-fetch-site"] ?? "none";
  return site === "same-origin" || site === "none";
}
