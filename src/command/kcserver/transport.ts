/**
 * Where the server is to listen, judged from the options alone: nothing is
 * bound or written yet.
 */
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import type { Address } from "../../server/bind.ts";
import { CommandError } from "../exit.ts";
import type { Options } from "./options.ts";

/** Bytes that a Unix socket's path may have, wherever we run. */
export const PATH_LIMIT = 104;

/** What our own directory and a session's socket in it add to a directory's path. */
const SESSION_SOCKET_BYTES = 60;

export interface ListenChoice {
  readonly address: Address;
  /** In which the directory for private files is made; the system's unless said. */
  readonly runtimeDirectory: string | undefined;
  /** What the person should know of the choice. */
  readonly warnings: readonly string[];
}

export interface Surroundings {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
  readonly pid?: number;
  readonly temporary?: string;
  /** The part of a pipe's name that is made up. */
  readonly secret?: string;
}

/** Throws `usage`, by the first rule that is broken. */
export function listenChoiceOf(
  options: Options,
  surroundings: Surroundings = {},
): ListenChoice {
  const { platform = process.platform, pid = process.pid } = surroundings;
  const isWindows = platform === "win32";
  const transport = transportOf(options, isWindows);
  const { port, unixSocket, socketDir } = options;
  if (port !== 0 && transport !== "tcp") {
    throw new CommandError(
      "usage",
      `--port is for the transport tcp, and the transport is ${transport}`,
    );
  }
  if (!isWindows && unixSocket !== undefined && transport !== "socket") {
    throw new CommandError(
      "usage",
      `--unix-socket is for the transport socket, and the transport is ${transport}`,
    );
  }
  if (transport === "socket" && isWindows) {
    throw new CommandError("usage", "The transport socket is not for Windows");
  }
  if (transport === "named-pipe" && !isWindows) {
    throw new CommandError(
      "usage",
      "The transport named-pipe is for Windows only",
    );
  }
  const runtimeDirectory = sessionDirectory(socketDir);
  switch (transport) {
    case "tcp": {
      const address = { transport, host: "127.0.0.1", port } as const;
      return { address, runtimeDirectory, warnings: [] };
    }
    case "named-pipe": {
      // Pipes are a space of names for the whole machine: nobody can be there before us under one that is made up.
      const { secret = randomBytes(8).toString("hex") } = surroundings;
      const name = `\\\\.\\pipe\\kallichore-${pid}-${secret}`;
      return { address: { transport, name }, runtimeDirectory, warnings: [] };
    }
    case "socket": {
      const { path, warnings } = socketPath(options, surroundings, pid);
      return { address: { transport, path }, runtimeDirectory, warnings };
    }
    default:
      throw new CommandError(
        "usage",
        `There is no transport ${JSON.stringify(transport)}: it is tcp, socket or named-pipe`,
      );
  }
}

/** Asked for; or the one that what else was asked for suggests. */
function transportOf(
  { transport, unixSocket, connectionFile }: Options,
  isWindows: boolean,
): string {
  if (transport !== undefined) return transport;
  if (!isWindows && unixSocket !== undefined) return "socket";
  // A handshake alone suggests none: that is how the versions of Kallichore that have one take it.
  if (connectionFile !== undefined) return isWindows ? "named-pipe" : "socket";
  return "tcp";
}

function socketPath(
  { unixSocket, socketDir }: Options,
  { env = process.env, temporary = tmpdir() }: Surroundings,
  pid: number,
): { path: string; warnings: readonly string[] } {
  if (unixSocket !== undefined) {
    return { path: resolve(unixSocket), warnings: [] };
  }
  const name = `kc-${pid}.sock`;
  if (socketDir !== undefined) {
    return { path: join(resolve(socketDir), name), warnings: [] };
  }
  const runtime = env["XDG_RUNTIME_DIR"] ?? "";
  const other = join(temporary, name);
  if (!isAbsolute(runtime)) return { path: other, warnings: [] };
  const path = join(runtime, name);
  if (isTooLong(path) && !isTooLong(other)) {
    const warning = `${path} is too long for a socket: ${other} is used instead`;
    return { path: other, warnings: [warning] };
  }
  return { path, warnings: [] };
}

/** For the sockets of single sessions: where the person said, as long as their paths fit. */
function sessionDirectory(socketDir: string | undefined): string | undefined {
  if (socketDir === undefined) return undefined;
  const directory = resolve(socketDir);
  const longest = Buffer.byteLength(directory) + SESSION_SOCKET_BYTES;
  return longest > PATH_LIMIT ? undefined : directory;
}

export function isTooLong(path: string): boolean {
  return Buffer.byteLength(path) > PATH_LIMIT;
}
