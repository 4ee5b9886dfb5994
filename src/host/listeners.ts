/**
 * Connects to TCP ports of loopback, but only if the given processes listen there:
 * every program of a machine can listen on a port, and not all of them are the
 * caller's to reach.
 *
 * Linux lists all sockets with their inodes, and the inodes of the sockets that a
 * process has. Other systems tell this only through privileged or slow tools, so
 * there every port is refused.
 */
import { readdirSync, readlinkSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";

const CONNECT_TIMEOUT_MS = 10_000;

/** The other half stays open when one is closed. Rejects with an error whose message says why the port cannot be reached, for people. */
export async function connectToPort(
  port: number,
  pids: () => Iterable<number>,
): Promise<Socket> {
  if (!Number.isInteger(port) || port < 1 || port > 65_535) {
    throw new Error("it is not a number from 1 to 65535");
  }
  if (process.platform !== "linux") {
    throw new Error(
      `it is not known which program listens on it (${process.platform} does not say)`,
    );
  }
  const listeners = await listenersOn(port);
  const own = socketsOf(pids());
  const isOwn = (address: Loopback) => {
    const there = listeners.get(address) ?? [];
    return there.length > 0 && there.every((inode) => own.has(inode));
  };
  let error: Error | undefined;
  for (const address of ["127.0.0.1", "::1"] as const) {
    if (!isOwn(address)) continue;
    try {
      return await connected(port, address);
    } catch (cause) {
      error = new Error((cause as Error).message, { cause });
    }
  }
  if (error !== undefined) throw error;
  throw new Error(
    listeners.size === 0
      ? "no program listens on it on 127.0.0.1 or ::1"
      : "the program that listens on it was not started by the kernel",
  );
}

type Loopback = "127.0.0.1" | "::1";

/** The inodes of the sockets that can get a connection to the port, by its address. */
async function listenersOn(port: number): Promise<Map<Loopback, string[]>> {
  const found = new Map<Loopback, string[]>();
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  for (const file of ["tcp", "tcp6"]) {
    const inodes = new Map<Loopback, string[]>();
    for (const line of (await linesOf(`/proc/net/${file}`)).slice(1)) {
      // Number, local address, remote address, state, five others, inode.
      const fields = line.trim().split(/\s+/);
      const [address = "", there] = (fields[1] ?? "").split(":");
      const inode = fields[9];
      if (there !== wanted || fields[3] !== LISTENS || inode === undefined)
        continue;
      for (const reached of REACHED.get(address) ?? []) {
        inodes.set(reached, [...(inodes.get(reached) ?? []), inode]);
      }
    }
    // A socket of IPv6 gets connections to 127.0.0.1 only if no socket of IPv4 does.
    for (const [reached, there] of inodes) {
      if (!found.has(reached)) found.set(reached, there);
    }
  }
  return found;
}

async function linesOf(file: string): Promise<string[]> {
  try {
    return (await readFile(file, "latin1")).split("\n");
  } catch {
    return []; // this system has no IPv6
  }
}

/** The state of a socket that listens. */
const LISTENS = "0A";

/** Where one connects to reach a socket that is bound to this address. Linux writes addresses as words in the byte order of the machine. */
const REACHED: ReadonlyMap<string, readonly Loopback[]> = new Map([
  [inWords("00000000"), ["127.0.0.1"]],
  [inWords("7f000001"), ["127.0.0.1"]],
  [inWords("00000000000000000000000000000000"), ["127.0.0.1", "::1"]],
  [inWords("00000000000000000000000000000001"), ["::1"]],
  [inWords("00000000000000000000ffff00000000"), ["127.0.0.1"]],
  [inWords("00000000000000000000ffff7f000001"), ["127.0.0.1"]],
] as const);

function inWords(hex: string): string {
  const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
  return Array.from(new Uint32Array(bytes.buffer), (word) =>
    word.toString(16).toUpperCase().padStart(8, "0"),
  ).join("");
}

/** The inodes of all sockets that these processes have. */
function socketsOf(pids: Iterable<number>): ReadonlySet<string> {
  const inodes = new Set<string>();
  for (const pid of pids) {
    for (const file of filesOf(pid)) {
      const [, inode] = /^socket:\[(\d+)\]$/.exec(file) ?? [];
      if (inode !== undefined) inodes.add(inode);
    }
  }
  return inodes;
}

function filesOf(pid: number): string[] {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).flatMap((name) => {
      try {
        return readlinkSync(`${folder}/${name}`);
      } catch {
        return []; // it was closed meanwhile
      }
    });
  } catch {
    return []; // it has ended, or belongs to another user
  }
}

function connected(port: number, host: Loopback): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, allowHalfOpen: true, noDelay: true });
    const timer = setTimeout(() => {
      socket.destroy(
        new Error(`it did not answer within ${CONNECT_TIMEOUT_MS / 1000} s`),
      );
    }, CONNECT_TIMEOUT_MS);
    socket.on("error", reject); // and it never crashes a caller that does not listen yet
    socket.once("close", () => clearTimeout(timer));
    socket.once("connect", () => {
      clearTimeout(timer);
      resolve(socket);
    });
  });
}
