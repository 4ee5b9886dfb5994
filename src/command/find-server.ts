/**
 * Finds the server for a command: the named one; or else this user's newest running
 * server (each writes a record); or else, for commands that need no running server,
 * a server in this process that ends with the command.
 */
import { type Client, createClient } from "../../client/index.ts";
import { KERNEL_SOCKETS } from "../kernel/ipc.ts";
import { startServer } from "../serve.ts";
import { VERSION } from "../package/version.ts";
import { CommandError } from "./exit.ts";
import { readRecords, type ServerRecord } from "./record.ts";
import { readToken } from "./token.ts";
import { whyOf } from "./why.ts";

/** The options that choose a server. A token file applies to any server. */
export interface ServerChoice {
  /** An address, the path of a socket, or a process id. */
  readonly server?: string | undefined;
  /** The file that holds the token. */
  readonly token?: string | undefined;
}

/** A client, and the embedded server that ends with it. */
export interface ServerConnection extends AsyncDisposable {
  readonly client: Client;
  readonly address: ServerAddress;
  readonly isEmbedded: boolean;
}

export interface ServerAddress {
  readonly where:
    | { readonly url: string }
    | { readonly socketPath: string; readonly basePath?: string | undefined };
  readonly token: string | undefined;
  /** Known if the address is from a record. It shows whether another server has the address now. */
  readonly server_id?: string | undefined;
}

/** The server is on this machine or near it. */
const TIMEOUT_MS = 3_000;

/** Throws `refused` if no server runs. */
export async function openServer(
  choice: ServerChoice,
): Promise<ServerConnection> {
  const found = await findServer(choice);
  if (found !== undefined) return found;
  throw new CommandError("refused", "No server of yours is running", {
    hint: "To start a server: kallichore serve\nTo use another server: --server URL, with its token in KALLICHORE_TOKEN",
  });
}

/** `undefined`: no server was named, and none runs. Throws `refused` if the named one does not answer. */
export async function findServer(
  choice: ServerChoice,
): Promise<ServerConnection | undefined> {
  const named = choice.server ?? process.env["KALLICHORE_SERVER"];
  const token =
    choice.token === undefined ? undefined : readToken(choice.token);
  if (named !== undefined && named !== "") {
    const address = addressNamed(named, token);
    const client = clientAt(address);
    try {
      await assertReachable(client, address);
    } catch (cause) {
      client.close();
      const why = whyOf(cause);
      throw new CommandError("refused", `No server at ${named}: ${why}`, {
        hint: "To see your running servers: kallichore servers",
        cause,
      });
    }
    return connected(client, address);
  }
  for (const record of readRecords()) {
    const address = addressIn(record);
    if (address === undefined) continue;
    const used = { ...address, token: token ?? address.token };
    const client = clientAt(used);
    try {
      await assertReachable(client, address);
      return connected(client, used);
    } catch {
      client.close(); // this server is ending, or does not answer
    }
  }
  return undefined;
}

/** Bytes. The command is the only reader, and output must not be lost if it writes to a slow pipe. */
const JOURNAL = 512 * 1024 * 1024;

/** Starts a server in this process. It ends with the command. */
export async function startEmbedded(): Promise<ServerConnection> {
  const dirs = process.env["KALLICHORE_KERNELSPEC_DIR"] ?? "";
  const sockets = process.env["KALLICHORE_KERNEL_SOCKETS"];
  const server = await startServer({
    kernelSockets: KERNEL_SOCKETS.find((kind) => kind === sockets),
    resourceSampleIntervalMs: 0,
    limits: { journal_memory_bytes: JOURNAL },
    kernelspecDirs: dirs.split(",").filter((dir) => dir !== ""),
  });
  const address = { where: { url: server.url ?? "" }, token: server.token };
  const client = clientAt(address);
  return {
    client,
    address,
    isEmbedded: true,
    async [Symbol.asyncDispose]() {
      client.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

function clientAt({ where, token }: ServerAddress): Client {
  return createClient({ ...where, token, client: `kallichore/${VERSION}` });
}

function connected(client: Client, address: ServerAddress): ServerConnection {
  return {
    client,
    address,
    isEmbedded: false,
    [Symbol.asyncDispose]: () => client[Symbol.asyncDispose](),
  };
}

function addressNamed(named: string, given: string | undefined): ServerAddress {
  const record = readRecords().find(
    ({ pid, url, socket }) =>
      named === String(pid) || isSameUrl(named, url) || named === socket,
  );
  const recorded = record === undefined ? undefined : addressIn(record);
  const token = given ?? process.env["KALLICHORE_TOKEN"] ?? recorded?.token;
  if (recorded !== undefined) return { ...recorded, token };
  if (/^\d+$/.test(named)) {
    throw new CommandError(
      "refused",
      `No kallichore server of yours has process id ${named}`,
      { hint: "To see your running servers: kallichore servers" },
    );
  }
  return /^https?:\/\//.test(named)
    ? { where: { url: named }, token }
    : { where: { socketPath: named }, token };
}

function addressIn(record: ServerRecord): ServerAddress | undefined {
  const { url, socket, base_url: basePath, server_id } = record;
  const token = record.token ?? undefined;
  if (socket !== undefined) {
    return { where: { socketPath: socket, basePath }, token, server_id };
  }
  return url === undefined ? undefined : { where: { url }, token, server_id };
}

function isSameUrl(named: string, url: string | undefined): boolean {
  if (url === undefined || !URL.canParse(named)) return false;
  return new URL(named).origin === new URL(url).origin;
}

async function assertReachable(
  { trpc }: Client,
  { server_id }: ServerAddress,
): Promise<void> {
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  const status = await trpc.server.status.query(undefined, { signal });
  if (server_id !== undefined && status.server_id !== server_id) {
    throw new Error("another server has its address now");
  }
}
