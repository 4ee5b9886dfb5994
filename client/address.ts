/**
 * Where a server is, and what opens its door. Everything that differs between
 * TCP, Unix sockets and pipes, between Node and browsers, ends here: after it
 * there is a `fetch` and a way to make a WebSocket.
 *
 * The token travels in a header wherever headers can be set. Browsers cannot
 * set them on a WebSocket; there, and only there, it is part of the address.
 */
import { needsOurSocket, openWebSocket, socketFetch } from "./host.ts";
import type { Fetch } from "./socket-fetch.ts";
import { VERSION } from "./version.ts";
import type { RawSocket, Where } from "./where.ts";

export interface AddressOptions {
  /** The server's token. Absent, the `token` parameter of `url` is taken. */
  readonly token?: string | undefined;
  /** Which program this is, as `name/version`: others see it of what it runs. Default: this library. */
  readonly client?: string | undefined;
  /** Used instead of the runtime's own. */
  readonly fetch?: Fetch | undefined;
  /** Used instead of the runtime's own, with the token in the address. */
  readonly WebSocket?: WebSocketClass | undefined;
}

export type WebSocketClass = new (url: string) => RawSocket;

export interface Address {
  /** For people: never holds the token. */
  readonly name: string;
  /** `undefined` of a socket. */
  readonly origin: string | undefined;
  /** Where tRPC is. */
  readonly trpc: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly fetch: Fetch;
  /** A WebSocket that begins to open. What the runtime has is looked up now, so that it may be replaced until then. */
  dial(): Promise<RawSocket>;
}

export function addressOf(
  { socketPath, url: given }: Where,
  options: AddressOptions,
): Address {
  const { WebSocket, client = `kallichore-client/${VERSION}` } = options;
  const url = socketPath === undefined ? toUrl(given) : undefined;
  const token = options.token ?? url?.searchParams.get("token") ?? undefined;
  const base = url === undefined ? "http://localhost" : baseOf(url);
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
        ? (asked, init) => globalThis.fetch(asked, init)
        : socketFetch(socketPath)),
    async dial() {
      const ws =
        socketPath === undefined
          ? trpc.replace(/^http/, "ws")
          : `ws+unix:${socketPath}:/trpc`;
      if (WebSocket === undefined && needsOurSocket(socketPath, token)) {
        return openWebSocket(ws, headers);
      }
      const made = WebSocket ?? globalThis.WebSocket;
      try {
        return new made(url === undefined ? ws : withAll(ws, client, token));
      } catch {
        // What is wrong with an address may quote it, and it holds the token.
        throw new Error(`A WebSocket to ${name} could not be made`);
      }
    },
  };
}

function baseOf({ protocol, host, pathname }: URL): string {
  return `${protocol.replace(/^ws/, "http")}//${host}${pathname.replace(/\/+$/, "")}`;
}

/** With what would be in headers. */
function withAll(ws: string, client: string, token: string | undefined) {
  const url = new URL(ws);
  url.searchParams.set("client", client);
  if (token !== undefined) url.searchParams.set("token", token);
  return url.href;
}

/** What is no address is not repeated: it may hold the token. */
function toUrl(given: string | URL | undefined): URL {
  if (given === undefined) {
    throw new TypeError(
      "There is no server to connect to: give `url`, `socketPath` or `connectionFile`",
    );
  }
  const url = parsed(given);
  if (url === undefined || !/^(http|ws)s?:$/.test(url.protocol)) {
    throw new TypeError(
      "The `url` is no address such as http://127.0.0.1:8888",
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
