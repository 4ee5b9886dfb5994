/** Listens where only this user can connect: on a Unix socket, or on a Windows pipe. */
import { once } from "node:events";
import { chmod } from "node:fs/promises";
import type { Server } from "node:net";

/** A Unix socket that only its owner may connect to, from its first moment. */
export async function bindPrivately(
  server: Server,
  path: string,
): Promise<void> {
  // `listen` binds at once; the mask is restored before the server makes any other file or process.
  const mask = process.umask(0o177);
  try {
    server.listen(path);
  } finally {
    process.umask(mask);
  }
  await once(server, "listening");
  await chmod(path, 0o600);
}

/**
 * A Windows pipe. Node requires that its first instance is the first of that
 * name, so a name that is taken is refused. Windows lets only its owner (and
 * administrators) write to it.
 */
export async function bindPipe(server: Server, name: string): Promise<void> {
  server.listen({ path: name, exclusive: true });
  await once(server, "listening");
}
