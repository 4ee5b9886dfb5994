/** A real server with the suite's small kernels, a client, and a proxy between them that can cut connections. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect as dial, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  connect,
  type Client,
  type ExecutionEvent,
} from "../../client/index.ts";
import {
  type RunningServer,
  type ServerOptions,
  startServer,
} from "../../src/serve.ts";
import { installKernelspecs } from "../kernels/index.ts";
import { installIpykernel } from "../kernels/python.ts";

/** A server on loopback, or on its own Unix socket. */
export async function open(
  options: ServerOptions & { readonly onSocket?: boolean } = {},
) {
  const folder = await mkdtemp(join(tmpdir(), "client-test-"));
  installKernelspecs(folder, [
    "echo",
    "chatty",
    "crash-on-execute",
    "stillborn",
    "forgetful",
  ]);
  installIpykernel(folder);
  const { onSocket, ...rest } = options;
  const socketPath = join(folder, "server.sock");
  const server = await startServer({
    kernelspecDirs: [join(folder, "kernels")],
    runtimeDirectory: folder,
    ...(onSocket === true && {
      address: { transport: "socket", path: socketPath },
    }),
    ...rest,
  });
  return {
    server,
    folder,
    socketPath,
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      await rm(folder, { recursive: true });
    },
  };
}

export function urlOf({ url }: RunningServer): string {
  if (url === undefined) throw new Error("The server listens on a socket");
  return url;
}

export function clientOf(server: RunningServer): Promise<Client> {
  return connect({ url: urlOf(server), token: server.token });
}

/** All events of an execution, to its end. */
export async function collect(
  execution: AsyncIterable<ExecutionEvent>,
): Promise<ExecutionEvent[]> {
  const events: ExecutionEvent[] = [];
  for await (const event of execution) events.push(event);
  return events;
}

export type Cuttable = Awaited<ReturnType<typeof cuttable>>;

/** A proxy on loopback. `cut` ends every connection at once; while it is `down`, new ones end too. */
export async function cuttable(target: string) {
  const { hostname, port } = new URL(target);
  let farPort = Number(port);
  const sockets = new Set<Socket>();
  let isDown = false;
  const proxy = createServer((near) => {
    if (isDown) {
      near.destroy();
      return;
    }
    const far = dial(farPort, hostname);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => {}); // after a cut
      socket.on("close", () => {
        sockets.delete(socket);
        other.destroy();
      });
      socket.pipe(other);
    }
  });
  proxy.listen(0, "127.0.0.1");
  await once(proxy, "listening");
  const address = proxy.address() as { port: number };
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: `http://127.0.0.1:${address.port}`,
    cut,
    down() {
      isDown = true;
      cut();
    },
    up() {
      isDown = false;
    },
    /** The open connections transport no more data, and do not end. */
    stall() {
      for (const socket of sockets) socket.unpipe().pause();
    },
    /** Sets the port to which new connections go. */
    to(another: number) {
      farPort = another;
    },
    async [Symbol.asyncDispose]() {
      if (!proxy.listening) return;
      cut();
      proxy.close();
      await once(proxy, "close");
    },
  };
}
