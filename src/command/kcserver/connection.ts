/**
 * Reports the server's address to the program that started it: in a file that
 * appears complete and is removed when the server ends, or in one message to a
 * socket of that program.
 */
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Address } from "../../server/bind.ts";

/** The fields in the order of the file. A transport has only those that it uses. */
export interface ServerInfo {
  readonly port?: number;
  readonly base_path?: string;
  readonly socket_path?: string;
  readonly named_pipe?: string;
  readonly transport: Address["transport"];
  readonly server_path: string;
  readonly server_pid: number;
  readonly bearer_token: string | null;
  readonly log_path: string | null;
  readonly server_id: string;
}

export interface ServerFacts {
  readonly address: Address;
  readonly token: string | null;
  readonly server_id: string;
  readonly server_path: string;
  readonly server_pid: number;
  readonly log_path: string | null;
}

export function serverInfoOf(facts: ServerFacts): ServerInfo {
  const { address, token, server_id, server_path, server_pid, log_path } =
    facts;
  return {
    ...addressFields(address),
    transport: address.transport,
    server_path,
    server_pid,
    bearer_token: token,
    log_path,
    server_id,
  };
}

function addressFields(
  address: Address,
): Pick<ServerInfo, "port" | "base_path" | "socket_path" | "named_pipe"> {
  switch (address.transport) {
    case "tcp": {
      const { host, port } = address;
      return { port, base_path: `http://${host}:${port}` };
    }
    case "socket":
      return { socket_path: address.path };
    case "named-pipe":
      return { named_pipe: address.name };
  }
}

/**
 * Resolves when the complete file exists. Only its owner can read it, because it
 * contains the token. Disposing the result removes the file at once, unless
 * another server has replaced it.
 */
export async function writeConnectionFile(
  path: string,
  connection: ServerInfo,
): Promise<Disposable> {
  const text = JSON.stringify(connection, null, 2);
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  try {
    await writeFile(draft, text, { mode: 0o600, flag: "wx" });
    await rename(draft, path);
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  }
  return {
    [Symbol.dispose]() {
      try {
        if (readFileSync(path, "utf8") === text) rmSync(path);
      } catch {
        // The file was removed already.
      }
    },
  };
}

/** How long the receiver of the message may take to accept the connection, and to close it. */
const TIMEOUT_MS = 5_000;

/**
 * Connects to the client's socket, sends the message, and ends the connection.
 * Resolves when the message was sent; it does not wait until the client closes
 * the connection. Rejects if the client does not listen, or stops listening
 * before the message was sent.
 */
export async function sendHandshake(
  path: string,
  connection: ServerInfo,
): Promise<void> {
  const socket = connect({ path, allowHalfOpen: true });
  const signal = AbortSignal.timeout(TIMEOUT_MS);
  try {
    await once(socket, "connect", { signal });
    const sent = once(socket, "finish", { signal });
    socket.end(`${JSON.stringify(connection)}\n`);
    await sent;
  } catch (cause) {
    socket.destroy();
    throw signal.aborted
      ? new Error(`no program listened within ${TIMEOUT_MS / 1000} s`, {
          cause,
        })
      : cause;
  }
  // The message was sent, so errors no longer matter: the client may reset the connection to close it.
  socket.on("error", () => {});
  socket.on("end", () => socket.destroy());
  socket.resume();
  socket.unref();
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy());
}
