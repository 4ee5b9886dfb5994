/**
 * How the server can be reached, as those who started it are told: by a file
 * that appears whole and is gone when the server is, or by one message to a
 * socket of theirs.
 */
import { once } from "node:events";
import { randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import { rename, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import type { Address } from "../../server/bind.ts";

/** In the order in which it is written. What a transport has no use for is absent. */
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
  readonly log_path: string | null;
}

export function serverInfoOf(facts: ServerFacts): ServerInfo {
  const { address, token, server_id, server_path, log_path } = facts;
  return {
    ...addressFields(address),
    transport: address.transport,
    server_path,
    server_pid: process.pid,
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
 * Resolves once the file is there, whole; for its owner's eyes only, it holds
 * the token. Disposing of it removes it, at once; not one that another server
 * has put in its place.
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
        // It is gone already, or was never ours to remove.
      }
    },
  };
}

/** How long those who wait for the message may take to listen, and to hang up. */
const TIMEOUT_MS = 5_000;

/**
 * Connects to a socket of the client's, says it, and hangs up. Resolves when it
 * was said: who has heard it may keep the connection open for as long as they
 * like. Rejects when nobody listens, or stops listening before it was said.
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
      ? new Error(`nobody listened within ${TIMEOUT_MS / 1000} s`, { cause })
      : cause;
  }
  // It is said; that the other side then breaks the connection is its way to hang up.
  socket.on("error", () => {});
  socket.on("end", () => socket.destroy());
  socket.resume();
  socket.unref();
  socket.setTimeout(TIMEOUT_MS, () => socket.destroy());
}
