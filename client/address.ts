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

export function addressOf(where: Where, options: AddressOptions): Address {
  const { client = `kallichore-client/${VERSION}` } = options;
  return where.socketPath !== undefined
    ? addressOfSocket(where.socketPath, { ...options, client })
    : addressOfUrl(toUrl(where.url), { ...options, client });
}

/** With the client's name, whoever it is. */
type Options = AddressOptions & { readonly client: string };

function addressOfSocket(path: string, options: Options): Address {
  const { token, WebSocket, fetch = socketFetch(path) } = options;
  const trpc = "http://localhost/trpc";
  const headers = headersOf(options);
  const ws = `ws+unix:${path}:/trpc`;
  return {
    name: path,
    origin: undefined,
    trpc,
    headers,
    fetch,
    dial: async () =>
      WebSocket === undefined && needsOurSocket(path, token)
        ? openWebSocket(ws, headers)
        : made(WebSocket ?? globalThis.WebSocket, ws, path),
  };
}

/** The token may be in `url`. */
function addressOfUrl(url: URL, options: Options): Address {
  const { token = url.searchParams.get("token") ?? undefined } = options;
  const { client, WebSocket, fetch } = options;
  const { protocol, host, pathname } = url;
  const name = `${protocol.replace(/^ws/, "http")}//${host}${pathname.replace(/\/+$/, "")}`;
  const trpc = `${name}/trpc`;
  const headers = headersOf({ client, token });
  return {
    name,
    origin: new URL(name).origin,
    trpc,
    headers,
    fetch: fetch ?? ((asked, init) => globalThis.fetch(asked, init)),
    async dial() {
      const ws = new URL(trpc.replace(/^http/, "ws"));
      if (WebSocket === undefined && needsOurSocket(undefined, token)) {
        return openWebSocket(ws.href, headers);
      }
      ws.searchParams.set("client", client);
      if (token !== undefined) ws.searchParams.set("token", token);
      return made(WebSocket ?? globalThis.WebSocket, ws.href, name);
    },
  };
}

function headersOf({ client, token }: Options): Record<string, string> {
  return {
    "x-client": client,
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
}

function made(given: WebSocketClass, url: string, name: string): RawSocket {
  try {
    return new given(url);
  } catch {
    // What is wrong with an address may quote it, and it holds the token.
    throw new Error(`There is no WebSocket to be had at ${name}`);
  }
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
