/**
 * The other end of a link: sockets of libzmq, or a plain socket for bytes that
 * libzmq would never send. `closeAll` closes everything that is made here.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Publisher, Reply, Router, XPublisher } from "zeromq";

/** As libzmq 4.3 writes it, except for the minor version. */
export const GREETING = Buffer.from(
  "ff00000000000000017f0300" + "4e554c4c".padEnd(40, "0") + "0".repeat(64),
  "hex",
);
export const READY_XPUB = Buffer.from(
  "\x04\x1a\x05READY\x0bSocket-Type\x00\x00\x00\x04XPUB",
  "latin1",
);

type Bindable = Publisher | Reply | Router | XPublisher;

const closers: (() => void)[] = [];

export function closeAll(): void {
  for (const close of closers.splice(0).reverse()) close();
}

/** An endpoint to bind: a wildcard port, or a path in a new folder. */
export function freeEndpoint(kind: "tcp" | "ipc"): string {
  if (kind === "tcp") return "tcp://127.0.0.1:*";
  const folder = mkdtempSync(join(tmpdir(), "link-"));
  closers.push(() => rmSync(folder, { recursive: true, force: true }));
  return `ipc://${folder}/socket`;
}

/** Binds the socket and resolves with its endpoint. */
export async function bound(
  socket: Bindable,
  endpoint = "tcp://127.0.0.1:*",
): Promise<string> {
  socket.linger = 0;
  closers.push(() => socket.close());
  await socket.bind(endpoint);
  return socket.lastEndpoint ?? endpoint;
}

/** An endpoint on which no socket is bound, and that stays free for now. */
export async function unboundEndpoint(kind: "tcp" | "ipc"): Promise<string> {
  if (kind === "ipc") return freeEndpoint("ipc");
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return `tcp://127.0.0.1:${port}`;
}

/** Resolves with the endpoint of a plain server, which passes each connection to `onSocket`. */
export async function plainPeer(
  onSocket: (socket: Socket, nth: number) => void,
): Promise<string> {
  return (await plainServer(onSocket)).endpoint;
}

export async function plainServer(
  onSocket: (socket: Socket, nth: number) => void,
  at = "tcp://127.0.0.1:0",
): Promise<{ endpoint: string; close: () => Promise<void> }> {
  let nth = 0;
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {}); // a link that gives up may reset the connection
    onSocket(socket, ++nth);
  });
  const close = async (): Promise<void> => {
    const closed = once(server, "close");
    server.close();
    for (const socket of sockets) socket.destroy();
    await closed;
  };
  closers.push(() => {
    if (server.listening) void close();
  });
  server.listen(Number(at.split(":").at(-1)), "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { endpoint: `tcp://127.0.0.1:${port}`, close };
}

/** Passes on at most one byte at a time between a link and its peer. */
export async function byteByByte(endpoint: string): Promise<string> {
  return plainPeer((near) => {
    const far = connect({
      host: "127.0.0.1",
      port: Number(endpoint.split(":").at(-1)),
      noDelay: true,
    });
    far.on("error", () => {});
    near.setNoDelay(true);
    void trickle(near, far);
    void trickle(far, near);
  });
}

async function trickle(from: Socket, to: Socket): Promise<void> {
  try {
    for await (const chunk of from) {
      for (const byte of chunk as Buffer) {
        await new Promise((done) => to.write(Uint8Array.of(byte), done));
        await new Promise(setImmediate); // lets the reader run
      }
    }
  } catch {
    // One end went away: so does the other.
  }
  to.destroy();
}

/** Resolves with the next bytes, at least this many. */
export async function received(socket: Socket, size: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  while (total < size) {
    const chunk = socket.read() as Buffer | null;
    if (chunk === null) {
      await once(socket, "readable");
      continue;
    }
    chunks.push(chunk);
    total += chunk.length;
  }
  return Buffer.concat(chunks);
}
