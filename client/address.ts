/**
 * Where a server is, and what opens its door. Everything that differs between
 * TCP, Unix sockets and pipes, between Node and browsers, ends here: after it
 * there is a `fetch` and a way to make a WebSocket.
 *
 * The token travels in a header wherever headers can be set. Browsers cannot
 * set them on a WebSocket; there, and only there, it is part of the address.
 */
import { ConnectionError } from "./failure.ts";
import { nodeModule, isNode } from "./node.ts";
import { type Fetch, socketFetch } from "./socket-fetch.ts";
import { VERSION } from "./version.ts";

/** One of three: an address, a Unix socket or Windows pipe, or the file that the server wrote about itself. */
export type Where =
  | { readonly url: string | URL; readonly socketPath?: never }
  | { readonly url?: never; readonly socketPath: string };

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

/** What we use of a WebSocket, whoever makes it. */
export interface RawSocket {
  readonly readyState: number;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: never) => void) | null;
  send(data: string): void;
  close(code?: number, reason?: string): void;
  /** Where the implementation can end without a farewell. */
  terminate?(): void;
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
    const given = this.#options.WebSocket ?? builtin();
    const needsMore =
      this.#socketPath !== undefined ||
      (this.#token !== undefined && !isReplaced());
    if (
      this.#options.WebSocket === undefined &&
      (given === undefined || (needsMore && isNode))
    ) {
      const { WebSocket } = await import("ws");
      return new WebSocket(this.#ws(false), [], {
        headers: this.headers,
        perMessageDeflate: false,
        maxPayload: LONGEST_TEXT,
      });
    }
    if (given === undefined) throw new Error("There is no WebSocket here");
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

/** Characters, and so bytes at least: no text is longer in V8, and `ws` would throw over one. */
const LONGEST_TEXT = 0x1fff_ffe8;

function builtin(): WebSocketClass | undefined {
  return (globalThis as { WebSocket?: WebSocketClass }).WebSocket;
}

const seenFirst = builtin();

/** Whoever took the place of the runtime's own, as MSW does with a proxy of it, wants to see what is sent: nothing goes past them. */
function isReplaced(): boolean {
  const now = builtin();
  if (now === undefined) return false;
  return now !== seenFirst || (isNode && isProxy(now));
}

function isProxy(value: object): boolean {
  return nodeModule("node:util").types.isProxy(value);
}

/** Reads the file that the server wrote about itself (`--connection-file`), or what `kallichore serve --json` printed. */
export async function readConnectionFile(
  path: string,
): Promise<{ where: Where; token: string | undefined }> {
  const file = await readJson(path);
  const token = file.bearer_token ?? file.token ?? undefined;
  const socketPath = file.socket_path ?? file.named_pipe ?? file.socket;
  if (socketPath !== undefined) return { where: { socketPath }, token };
  const url = file.base_path ?? file.url;
  if (url !== undefined) return { where: { url }, token };
  throw new ConnectionError(`${path} does not say where the server is`);
}

interface ConnectionFile {
  readonly base_path?: string;
  readonly socket_path?: string;
  readonly named_pipe?: string;
  readonly bearer_token?: string | null;
  readonly url?: string;
  readonly socket?: string;
  readonly token?: string | null;
}

async function readJson(path: string): Promise<ConnectionFile> {
  const { readFile } = nodeModule("node:fs/promises");
  try {
    return JSON.parse(await readFile(path, "utf8")) as ConnectionFile;
  } catch (error) {
    throw new ConnectionError(
      `There is no server to be found by ${path}: a running server that was started with \`--connection-file\` has written one`,
      { cause: error },
    );
  }
}
