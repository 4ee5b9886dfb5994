/**
 * The simplest server, and the lower bound for the cost of every server.
 *
 * It has the addresses that the benches use, and receives with our own driver for
 * ZeroMQ or with libzmq. `relay` verifies and parses each message and encodes it
 * again; `verify` stops after the signature, and `receive` before it. These two
 * relay nothing.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { fileURLToPath } from "node:url";
import { type WebSocket, WebSocketServer } from "ws";
import { type Launched, launch } from "../../test/kernels/raw-client.ts";
import { ended, later, owned } from "./process.ts";
import type { Message, Server } from "./server.ts";
import { type Driver, listen, parsed, verified } from "./wire.ts";

export interface Work {
  readonly does: "relay" | "verify" | "receive";
  readonly driver: Driver;
}

const self = fileURLToPath(import.meta.url);
if (process.send !== undefined && process.argv[1] === self)
  await serve(JSON.parse(process.argv[2] ?? "") as Work);

/** Starts it. `session.send` uses an address of its own, because it must work without an attached client. */
export async function startPlain(name: string, work: Work): Promise<Server> {
  const child = owned(fork(self, [JSON.stringify(work)]));
  const [url] = (await once(child, "message")) as [string];
  const post = async (path: string, what: unknown) => {
    const body = JSON.stringify(what);
    const response = await fetch(`${url}${path}`, { method: "POST", body });
    return await response.text();
  };
  const server: Server = {
    name,
    kind: "plain",
    pid: child.pid ?? 0,
    child,
    url,
    token: "",
    folder: undefined,
    start: async (argv) => {
      const id = await post("/start", argv);
      return {
        id,
        server,
        channel: `${url.replace("http", "ws")}/${id}`,
        send: async (message) => {
          await post(`/send/${id}`, message);
        },
        async [Symbol.asyncDispose]() {
          await post(`/end/${id}`, null);
        },
      };
    },
    [Symbol.asyncDispose]: () => ended(child),
  };
  return server;
}

interface Running {
  readonly sockets: ReturnType<typeof listen>;
  readonly kernel: Launched;
  readonly clients: Set<WebSocket>;
}

async function serve(work: Work): Promise<void> {
  const all = new Map<string, Running>();
  const http = createServer((req, res) => {
    void (async () => {
      const [, verb = "", id = ""] = (req.url ?? "").split("/");
      const body = JSON.parse(await bodyOf(req)) as unknown;
      if (verb === "start") {
        const name = `s${all.size}`;
        all.set(name, await start(body as string[], work));
        res.end(name);
      } else if (verb === "send") {
        all.get(id)?.sockets.send(body as Message);
        res.end();
      } else {
        const running = all.get(id);
        running?.sockets.close();
        await running?.kernel[Symbol.asyncDispose]();
        res.end();
      }
    })();
  }).listen(0, "127.0.0.1");
  const sockets = new WebSocketServer({
    server: http,
    perMessageDeflate: false,
  });
  sockets.on("connection", (socket, req) => {
    const running = all.get((req.url ?? "").slice(1));
    running?.clients.add(socket);
    socket.on("close", () => running?.clients.delete(socket));
    socket.on("message", (text: Buffer) =>
      running?.sockets.send(JSON.parse(text.toString()) as Message),
    );
  });
  process.once("disconnect", () => process.exit());
  process.once("SIGTERM", () => process.exit());
  await once(http, "listening");
  const { port } = http.address() as { port: number };
  process.send?.(`http://127.0.0.1:${port}`);
}

async function start(argv: string[], { does, driver }: Work): Promise<Running> {
  const kernel = await launch({ argv });
  const { connection } = kernel;
  const clients = new Set<WebSocket>();
  const sockets = listen(connection, driver, (channel, frames) => {
    if (does === "receive") return;
    const rest = verified(frames, connection.key);
    if (does === "verify" || clients.size === 0) return;
    const buffers = rest
      .slice(4)
      .map((buffer) => Buffer.from(buffer).toString("base64"));
    const message = { kind: "jupyter", channel, ...parsed(rest), buffers };
    const text = JSON.stringify(message);
    for (const client of clients) client.send(text);
  });
  await later(300); // the subscription has to reach the kernel
  return { sockets, kernel, clients };
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
