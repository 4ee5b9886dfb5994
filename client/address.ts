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

export class Address {
  /** For people: never holds the token. */
  readonly name: string;
  readonly #http: string;
  readonly #socketPath: string | undefined;
  readonly #options: AddressOptions;
  readonly #token: string | undefined;

  constructor(where: Where, options: AddressOptions) {
    this.#options = options;
    if (where.socketPath !== undefined) {
      this.#http = "http://localhost";
      this.#socketPath = where.socketPath;
      this.#token = options.token;
      this.name = where.socketPath;
      return;
    }
    const url = toUrl(where.url);
    this.#token = options.token ?? url.searchParams.get("token") ?? undefined;
    this.#http = `${url.protocol.replace(/^ws/, "http")}//${url.host}${url.pathname.replace(/\/+$/, "")}`;
    this.name = this.#http;
  }

  /** `undefined` of a socket. */
  get origin(): string | undefined {
    return this.#socketPath === undefined
      ? new URL(this.#http).origin
      : undefined;
  }

  get trpc(): string {
    return `${this.#http}/trpc`;
  }

  get headers(): Record<string, string> {
    return {
      "x-client": this.#client,
      ...(this.#token !== undefined && {
        authorization: `Bearer ${this.#token}`,
      }),
    };
  }

  get fetch(): Fetch {
    if (this.#options.fetch !== undefined) return this.#options.fetch;
    if (this.#socketPath !== undefined) return socketFetch(this.#socketPath);
    return (url, init) => globalThis.fetch(url, init);
  }

  /** A WebSocket that begins to open. What the runtime has is looked up now, so that it may be replaced until then. */
  async dial(): Promise<RawSocket> {
    const { WebSocket } = this.#options;
    const isOurs =
      WebSocket === undefined && needsOurSocket(this.#socketPath, this.#token);
    if (isOurs) {
      return openWebSocket(this.#ws(false), this.headers);
    }
    const given = WebSocket ?? globalThis.WebSocket;
    try {
      return new given(this.#ws(true));
    } catch {
      // What is wrong with an address may quote it, and it holds the token.
      throw new Error(`There is no WebSocket to be had at ${this.name}`);
    }
  }

  get #client(): string {
    return this.#options.client ?? `kallichore-client/${VERSION}`;
  }

  /** `isAll`: with what would be in headers. */
  #ws(isAll: boolean): string {
    if (this.#socketPath !== undefined) {
      return `ws+unix:${this.#socketPath}:/trpc`;
    }
    const url = new URL(this.trpc.replace(/^http/, "ws"));
    if (!isAll) return url.href;
    url.searchParams.set("client", this.#client);
    if (this.#token !== undefined) {
      url.searchParams.set("token", this.#token);
    }
    return url.href;
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
