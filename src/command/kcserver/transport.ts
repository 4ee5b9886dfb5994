/**
 * Decides from the options alone where the server listens; it binds and writes
 * nothing.
 */
import { randomBytes } from "node:crypto";
import { tmpdir } from "node:os";
import { isAbsolute, join, resolve } from "node:path";
import type { Address } from "../../server/bind.ts";
import { CommandError } from "../exit.ts";
import type { Options } from "./options.ts";

/** The longest path of a Unix socket in bytes, on the strictest platform. */
export const PATH_LIMIT = 104;

/** The server's own directory and a session's socket in it add this many bytes to a path. */
const SESSION_SOCKET_BYTES = 60;

export interface ListenChoice {
  readonly address: Address;
  /** The server makes its directory for private files in this one. Default: the system's directory. */
  readonly runtimeDirectory: string | undefined;
  /** Warnings for the person. */
  readonly warnings: readonly string[];
}

export interface Surroundings {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly platform?: NodeJS.Platform;
  readonly pid?: number;
  readonly temporary?: string;
  /** The random part of a pipe's name. */
  readonly secret?: string;
}

/** Throws `usage` for the first rule that the options break. */
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
      `--port needs the transport tcp, but the transport is ${transport}`,
    );
  }
  if (!isWindows && unixSocket !== undefined && transport !== "socket") {
    throw new CommandError(
      "usage",
      `--unix-socket needs the transport socket, but the transport is ${transport}`,
    );
  }
  if (transport === "socket" && isWindows) {
    throw new CommandError(
      "usage",
      "The transport socket is not available on Windows: use named-pipe or tcp",
    );
  }
  if (transport === "named-pipe" && !isWindows) {
    throw new CommandError(
      "usage",
      "The transport named-pipe is available only on Windows: use socket or tcp",
    );
  }
  const runtimeDirectory = sessionDirectory(socketDir);
  switch (transport) {
    case "tcp": {
      const address = { transport, host: "127.0.0.1", port } as const;
      return { address, runtimeDirectory, warnings: [] };
    }
    case "named-pipe": {
      // All users of the machine share the names of pipes. Another user cannot take a random name in advance.
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
        `There is no transport ${JSON.stringify(transport)}: use tcp, socket or named-pipe`,
      );
  }
}

/** The requested transport, or the one that the other options imply. */
function transportOf(
  { transport, unixSocket, connectionFile }: Options,
  isWindows: boolean,
): string {
  if (transport !== undefined) return transport;
  if (!isWindows && unixSocket !== undefined) return "socket";
  // A handshake socket alone implies tcp, as in the versions of Kallichore that support it.
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

/** The directory for the sockets of single sessions: the requested one, if their paths are short enough. */
function sessionDirectory(socketDir: string | undefined): string | undefined {
  if (socketDir === undefined) return undefined;
  const directory = resolve(socketDir);
  const longest = Buffer.byteLength(directory) + SESSION_SOCKET_BYTES;
  return longest > PATH_LIMIT ? undefined : directory;
}

export function isTooLong(path: string): boolean {
  return Buffer.byteLength(path) > PATH_LIMIT;
}
