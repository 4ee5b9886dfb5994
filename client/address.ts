/**
 * The address of a server, and its token. This file hides the differences between
 * TCP, Unix sockets and pipes, and between Node and browsers: it returns a `fetch`
 * and a function that makes a WebSocket.
 *
 * The token is sent in a header where headers can be set. Browsers cannot set them
 * on a WebSocket; only there it is part of the address.
 */
import { needsOurSocket, openWebSocket, socketFetch } from "./host.ts";
import type { Fetch } from "./socket-fetch.ts";
import { VERSION } from "./version.ts";
import type { ServerLocation } from "./server-location.ts";
import type { RawSocket } from "./socket.ts";

export interface AddressOptions {
  /** The server's token. Default: the `token` parameter of `url`. */
  readonly token?: string | undefined;
  /** This program, as `name/version`: other clients see it with the code that it runs. Default: this library. */
  readonly client?: string | undefined;
  /** Default: the runtime's own. */
  readonly fetch?: Fetch | undefined;
  /** Default: the runtime's own. The token is then in the address. */
  readonly WebSocket?: WebSocketClass | undefined;
}

export type WebSocketClass = new (url: string) => RawSocket;

export interface Address {
  /** For messages: never holds the token. */
  readonly name: string;
  /** `undefined` for a socket. */
  readonly origin: string | undefined;
  /** The address of tRPC. */
  readonly trpc: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: Fetch;
  /** Makes a WebSocket. The runtime's class is looked up at each call, so that it may be replaced before. */
  dial(): Promise<RawSocket>;
}

export function addressOf(
  { socketPath, url: given, basePath = "" }: ServerLocation,
  options: AddressOptions,
): Address {
  const { WebSocket, client = `kallichore-client/${VERSION}` } = options;
  const url = socketPath === undefined ? toUrl(given) : undefined;
  const token = options.token ?? url?.searchParams.get("token") ?? undefined;
  const base = baseOf(url ?? new URL(basePath, "http://localhost"));
  const name = socketPath ?? base;
  const trpc = `${base}/trpc`;
  const headers = {
    "x-client": client,
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
  return {
    name,
    origin: url && new URL(base).origin,
    trpc,
    headers,
    fetch:
      options.fetch ??
      (socketPath === undefined
        ? (input, init) => globalThis.fetch(input, init)
        : socketFetch(socketPath)),
    async dial() {
      const ws =
        socketPath === undefined
          ? trpc.replace(/^http/, "ws")
          : `ws+unix:${socketPath}:${new URL(trpc).pathname}`;
      if (WebSocket === undefined && needsOurSocket(socketPath, token)) {
        return openWebSocket(ws, headers);
      }
      const made = WebSocket ?? globalThis.WebSocket;
      try {
        return new made(url === undefined ? ws : withAll(ws, client, token));
      } catch {
        // The runtime's error may quote the address, which holds the token.
        throw new Error(`A WebSocket to ${name} could not be made`);
      }
    },
  };
}

function baseOf({ protocol, host, pathname }: URL): string {
  return `${protocol.replace(/^ws/, "http")}//${host}${pathname.replace(/\/+$/, "")}`;
}

/** Adds what would otherwise be in headers. */
function withAll(ws: string, client: string, token: string | undefined) {
  const url = new URL(ws);
  url.searchParams.set("client", client);
  if (token !== undefined) url.searchParams.set("token", token);
  return url.href;
}

/** An invalid address is not repeated in the error: it may hold the token. */
function toUrl(given: string | URL | undefined): URL {
  if (given === undefined) {
    throw new TypeError(
      "The address of the server is missing: give `url`, `socketPath` or `connectionFile`",
    );
  }
  const url = parsed(given);
  if (url === undefined || !/^(http|ws)s?:$/.test(url.protocol)) {
    throw new TypeError(
      "The `url` is not an address such as http://127.0.0.1:8888",
    );
  }
  return url;
}

function parsed(given: string | URL): URL | undefined {
  try {
    return new URL(given);
  } catch {
    return undefined;
  }
}
