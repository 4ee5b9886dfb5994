/**
 * The client of a server: its kernelspecs, its sessions, and the connection.
 */
import type { TRPCClient } from "@trpc/client";
import type {
  ActiveSession,
  AppRouter,
  contract,
  OutputOf,
} from "../contract/index.ts";
import type * as Wire from "../contract/index.ts";
import { type Address, addressOf, type AddressOptions } from "./address.ts";
import type { ConnectionView } from "./connection.ts";
import { readConnectionFile } from "./host.ts";
import { type CallOptions, type ServerLink, linkTo } from "./server-link.ts";
import type { ServerLocation } from "./server-location.ts";
import { Session } from "./session.ts";
import { unlessAborted } from "./wait.ts";

export type ClientOptions = ServerLocation & AddressOptions;

export type ConnectOptions = AddressOptions & {
  /** Milliseconds until the attempt fails. Default: 10 000. */
  readonly timeout_ms?: number | undefined;
  /** Ends the attempt: it rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
} & (
    | (ServerLocation & { readonly connectionFile?: never })
    | {
        /** The file that the server writes for `--connection-file`; it also holds the token. */
        readonly connectionFile: string;
        readonly url?: never;
        readonly socketPath?: never;
        readonly basePath?: never;
      }
  );

/** The contract's type without unknown members: a misspelt name does not compile. */
type Exactly<T> = {
  [K in keyof T as string extends K ? never : K]: T[K];
};

export type VarAction = Exactly<Wire.VarAction>;

/** The options of a new session. */
export type NewSession = Omit<Exactly<Wire.NewSession>, "env"> & {
  /** Applied in order, each to the result of the actions before it. */
  readonly env?: VarAction[] | undefined;
};

/** The status of the server. */
export type ServerStatus = Omit<
  Exactly<Wire.ServerStatus>,
  "version" | "server_version"
> & {
  /** The version of the server itself. */
  readonly version: string;
  /** The version of Kallichore whose clients it serves. */
  readonly kallichore_version: string;
};

export type KernelspecList = OutputOf<typeof contract.kernelspecs.list.output>;

const TIMEOUT_MS = 10_000;

/** Makes a client that connects when it is first used. Sends nothing to the server yet. */
export function createClient(options: ClientOptions): Client {
  return new Client(linkTo(addressOf(options, options)));
}

/** Makes a connected client. Rejects with `unauthorized` if the token is wrong, with a `ConnectionError` if no server answers in time. */
export async function connect(options: ConnectOptions): Promise<Client> {
  const { timeout_ms = TIMEOUT_MS, signal } = options;
  signal?.throwIfAborted();
  const link = linkTo(await addressIn(options));
  try {
    await unlessAborted(link.connection.opened(timeout_ms), signal);
  } catch (error) {
    link.connection.close();
    throw error;
  }
  return new Client(link);
}

async function addressIn(options: ConnectOptions): Promise<Address> {
  if (options.connectionFile === undefined) {
    return addressOf(options, options);
  }
  const { where, token } = await readConnectionFile(options.connectionFile);
  return addressOf(where, { ...options, token: options.token ?? token });
}

/** A server: its kernelspecs, its sessions, and the connection to it. */
export class Client implements AsyncDisposable {
  /** All operations of the contract, typed, in tRPC's form: failures are in `error.data.failure`. */
  readonly trpc: TRPCClient<AppRouter>;
  readonly connection: ConnectionView;
  readonly sessions: Sessions;
  readonly #link: ServerLink;

  constructor(link: ServerLink) {
    this.#link = link;
    this.trpc = link.trpc;
    this.connection = link.connection;
    this.sessions = new Sessions(link);
  }

  /** The kernelspecs, the default one, and those that could not be read. */
  kernelspecs(options: CallOptions = {}): Promise<KernelspecList> {
    const { kernelspecs } = this.trpc;
    return this.#link.result(
      kernelspecs.list.query(undefined, options),
      options,
    );
  }

  /** The status of the server. Needs no token. */
  async status(options: CallOptions = {}): Promise<ServerStatus> {
    const { server } = this.trpc;
    const { version, server_version, ...rest } = await this.#link.result(
      server.status.query(undefined, options),
      options,
    );
    return { ...rest, version: server_version, kallichore_version: version };
  }

  /**
   * Creates a session and starts its kernel. Default: the server's default kernel. Resolves once the kernel has answered. A session that does
   * not start is deleted, and the failure has the output of the kernel
   * (`error.startup`).
   */
  async start(
    kernel_name?: string,
    options: NewSession & CallOptions = {},
  ): Promise<Session> {
    const { signal, ...given } = options;
    const call = signal === undefined ? {} : { signal };
    const name = kernel_name ?? (await this.#defaultKernel(given, call));
    // Without the signal: if it aborted here, a session could stay that the caller does not know.
    const session = await this.sessions.create({
      ...given,
      ...(name !== undefined && { kernel_name: name }),
    });
    try {
      await session.start(call);
    } catch (error) {
      // The caller needs the failure of the start; the session or the server may be gone.
      await session[Symbol.asyncDispose]().catch(() => {});
      throw error;
    }
    return session;
  }

  /** A handle of an existing session. Sends nothing to the server yet. */
  session(session_id: string): Session {
    return new Session(this.#link, session_id, false);
  }

  /** Closes the connection. Sessions go on; messages that are not sent are dropped. */
  close(): void {
    this.#link.connection.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.close();
    return Promise.resolve();
  }

  async #defaultKernel({ kernel_name, argv }: NewSession, call: CallOptions) {
    if (kernel_name !== undefined || (argv !== undefined && argv !== null))
      return undefined;
    return (await this.kernelspecs(call)).default ?? undefined;
  }
}

/** The sessions of a server. */
export class Sessions {
  readonly #link: ServerLink;

  constructor(link: ServerLink) {
    this.#link = link;
  }

  /** In the order of their creation; if `labels` are given, only those that have all of them. */
  async list({
    labels,
    ...options
  }: CallOptions & {
    readonly labels?: Readonly<Record<string, string>> | undefined;
  } = {}): Promise<readonly ActiveSession[]> {
    const { trpc } = this.#link;
    const label = Object.entries(labels ?? {}).map(
      ([key, value]) => `${key}=${value}`,
    );
    const filter = label.length === 0 ? undefined : { label };
    const { sessions } = await this.#link.result(
      trpc.sessions.list.query(filter, options),
      options,
    );
    return sessions;
  }

  get(session_id: string, options?: CallOptions): Promise<ActiveSession> {
    return new Session(this.#link, session_id, false).info(options);
  }

  /** A session without a kernel yet: `start` it. With `await using`, it ends with its handle. */
  async create(
    session: NewSession,
    options: CallOptions = {},
  ): Promise<Session> {
    const { trpc } = this.#link;
    const created = await this.#link.result(
      // Without it, the server starts the kernel in another directory if this one is missing, as Kallichore does.
      trpc.sessions.create.mutate(
        { working_directory_required: true, ...session },
        options,
      ),
      options,
    );
    return new Session(this.#link, created.session_id, true);
  }

  /** It must have no running kernel. */
  delete(session_id: string, options?: CallOptions): Promise<void> {
    return new Session(this.#link, session_id, false).delete(options);
  }
}
