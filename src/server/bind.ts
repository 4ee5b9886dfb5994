/** Listens on an address: TCP, a Unix socket, or a Windows pipe. */
import { once } from "node:events";
import { mkdir, rm, stat } from "node:fs/promises";
import type { Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { dirname } from "node:path";
import { bindPipe, bindPrivately } from "../host/private-socket.ts";

export type Address =
  | { readonly transport: "tcp"; readonly host: string; readonly port: number }
  | { readonly transport: "socket"; readonly path: string }
  | { readonly transport: "named-pipe"; readonly name: string };

/** Resolves with the address; its port is the one that the system chose. `handle`: what listens at the address already. */
export async function bind(
  http: Server,
  address: Address,
  handle?: unknown,
): Promise<Address> {
  if (handle !== undefined) {
    http.listen(handle);
    await once(http, "listening");
    return address;
  }
  switch (address.transport) {
    case "tcp": {
      http.listen(address.port, address.host);
      await once(http, "listening");
      const { port } = http.address() as AddressInfo;
      return { ...address, port };
    }
    case "socket": {
      await clearPath(address.path);
      await mkdir(dirname(address.path), { recursive: true, mode: 0o700 });
      await bindPrivately(http, address.path);
      return address;
    }
    case "named-pipe":
      await bindPipe(http, address.name);
      return address;
  }
}

/** Removes a socket that no process listens on. Throws if a process listens, or if the file is not a socket. */
async function clearPath(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found === undefined) return;
  if (!found.isSocket()) {
    throw new Error(`${path} exists already, and is not a socket`);
  }
  if (await isLive(path)) {
    throw new Error(`Another server listens on ${path}`);
  }
  await rm(path, { force: true });
}

async function isLive(path: string): Promise<boolean> {
  const probe = connect(path);
  try {
    await once(probe, "connect");
    return true;
  } catch {
    return false;
  } finally {
    probe.destroy();
  }
}
