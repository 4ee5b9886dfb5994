/**
 * WebSocket subprotocols: Jupyter's, and the two with which a page can send its
 * token (Jupyter Enhancement Proposal 121).
 */

/** Jupyter's binary protocol. A client that does not offer it gets the default one. */
export const KERNEL_V1 = "v1.kernel.websocket.jupyter.org";
const TOKEN = "v1.token.websocket.jupyter.org";
const TOKEN_PREFIX = `${TOKEN}.`;

/** The subprotocol that the server selects from the offered ones; false for none. The subprotocol with the token is never sent back. */
export function subprotocolOf(offered: ReadonlySet<string>): string | false {
  if (offered.has(KERNEL_V1)) return KERNEL_V1;
  const hasToken = [...offered].some((name) => name.startsWith(TOKEN_PREFIX));
  return hasToken && offered.has(TOKEN) ? TOKEN : false;
}

/** The token in the header `Sec-WebSocket-Protocol`. */
export function tokenInSubprotocols(
  header: string | undefined,
): string | undefined {
  const named = header
    ?.split(",")
    .map((name) => name.trim())
    .find((name) => name.startsWith(TOKEN_PREFIX));
  if (named === undefined) return undefined;
  try {
    return decodeURIComponent(named.slice(TOKEN_PREFIX.length));
  } catch {
    return undefined;
  }
}
