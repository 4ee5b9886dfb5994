/**
 * What a driver can check of a link before it touches the network.
 *
 * A link that could never work is refused where it is asked for, with the same
 * words by every driver; what only the peer can tell arrives as `closed`.
 */
import type { TcpNetConnectOpts, IpcNetConnectOpts } from "node:net";
import type { LinkOptions } from "./transport.ts";

/** Where a kernel's socket is, as `node:net` wants it. */
export type SocketAddress =
  Pick<TcpNetConnectOpts, "host" | "port"> | Pick<IpcNetConnectOpts, "path">;

/** Throws a `RangeError` for an endpoint or an identity that no peer could accept. */
export function checkOptions({ type, endpoint, identity }: LinkOptions): void {
  toAddress(endpoint);
  if (identity === undefined) return;
  if (type !== "dealer") {
    throw new RangeError(`A ${type} has no identity; only a dealer does`);
  }
  if (identity.length < 1 || identity.length > 255 || identity[0] === 0) {
    throw new RangeError(
      "An identity is 1 to 255 bytes, and the first is not zero",
    );
  }
}

/** Reads `tcp://host:port`, `tcp://[ipv6]:port` or `ipc://path`; throws a `RangeError` for others. */
export function toAddress(endpoint: string): SocketAddress {
  const path = /^ipc:\/\/(.+)$/s.exec(endpoint)?.[1];
  if (path !== undefined) return { path };
  const tcp = /^tcp:\/\/(?:\[([^\]]+)\]|([^:[\]/*]+)):(\d{1,5})$/.exec(
    endpoint,
  );
  const host = tcp?.[1] ?? tcp?.[2];
  const port = Number(tcp?.[3]);
  if (host === undefined || !(port >= 1 && port <= 65_535)) {
    throw new RangeError(
      `${endpoint} is no endpoint to connect to; it takes tcp://host:port, tcp://[ipv6]:port or ipc://path`,
    );
  }
  return { host, port };
}
