/**
 * The checks of a link's options, before a driver uses the network.
 *
 * `connect` of every driver throws the same error for options that can never
 * work. A fault that only the peer can report ends the link as `closed`.
 */
import type { TcpNetConnectOpts, IpcNetConnectOpts } from "node:net";
import type { LinkOptions } from "./transport.ts";

/** The address of a kernel's socket, as options of `node:net`. */
export type SocketAddress =
  Pick<TcpNetConnectOpts, "host" | "port"> | Pick<IpcNetConnectOpts, "path">;

/** Throws a `RangeError` for an endpoint or an identity that no peer could accept. */
export function checkOptions({ type, endpoint, identity }: LinkOptions): void {
  toAddress(endpoint);
  if (identity === undefined) return;
  if (type !== "dealer") {
    throw new RangeError(
      `A link of type ${type} has no identity; only a dealer has one`,
    );
  }
  if (identity.length < 1 || identity.length > 255 || identity[0] === 0) {
    throw new RangeError(
      "An identity has 1 to 255 bytes, and the first byte is not zero",
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
      `${endpoint} is not a valid endpoint: use tcp://host:port, tcp://[ipv6]:port or ipc://path`,
    );
  }
  return { host, port };
}
