/**
 * The server that one would write first, and the floor under every server.
 *
 * It has as much of Kallichore's addresses as the benches ask, over our own
 * driver for ZeroMQ or libzmq. `relay` verifies, parses every frame and
 * stringifies the whole; `verify` and `hear` stop after the signature and
 * before it, and relay nothing.
 */
import { fork } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage } from "node:http";
import { fileURLToPath } from "node:url";
import { type WebSocket, WebSocketServer } from "ws";
import { Signer, toFrames } from "../../src/jupyter/frames.ts";
import type { Channel } from "../../src/jupyter/message.ts";
import { libzmq } from "../../src/zmq/libzmq.ts";
import type { Frames, Link } from "../../src/zmq/transport.ts";
import { zmtp } from "../../src/zmq/zmtp.ts";
import { type Launched, launch } from "../../test/kernels/raw-client.ts";
import { ended } from "./process.ts";
import type { Message, Server } from "./server.ts";

export interface Work {
  readonly does: "relay" | "verify" | "hear";
  readonly driver: "zmtp" | "libzmq";
}

const self = fileURLToPath(import.meta.url);
if (process.send !== undefined && process.argv[1] === self)
  await serve(JSON.parse(process.argv[2] ?? "") as Work);

/** Starts it; `session.send` is its own way, as nobody may be attached. */
export async function startPlain(name: string, work: Work): Promise<Server> {
  const child = fork(self, [JSON.stringify(work)]);
  const [url] = (await once(child, "message")) as [string];
  const ask = async (path: string, what: unknown) => {
    const body = JSON.stringify(what);
    const response = await fetch(`${url}${path}`, { method: "POST", body });
    return await response.text();
  };
  const server: Server = {
    name,
    kind: "plain",
    pid: child.pid ?? 0,
    url,
    token: "",
    folder: undefined,
    start: async (argv) => {
      const id = await ask("/start", argv);
      return {
        id,
        server,
        channel: `${url.replace("http", "ws")}/${id}`,
        send: async (message) => {
          await ask(`/send/${id}`, message);
        },
        async [Symbol.asyncDispose]() {
          await ask(`/end/${id}`, null);
        },
      };
    },
    [Symbol.asyncDispose]: () => ended(child),
  };
  return server;
}

interface Running {
  readonly links: readonly Link[];
  readonly kernel: Launched;
  readonly clients: Set<WebSocket>;
  send(message: Message): void;
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
        all.get(id)?.send(body as Message);
        res.end();
      } else {
        const running = all.get(id);
        for (const link of running?.links ?? []) link.close();
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
      running?.send(JSON.parse(text.toString()) as Message),
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
  const signer = new Signer(connection.key, connection.signature_scheme);
  const clients = new Set<WebSocket>();
  const hear = (channel: Channel) => (batch: readonly Frames[]) => {
    for (const frames of batch) {
      if (does === "hear") continue;
      const four = verified(frames, connection.key);
      if (does === "verify" || clients.size === 0) continue;
      const text = stringified(channel, four);
      for (const client of clients) client.send(text);
    }
  };
  const transport = driver === "zmtp" ? zmtp : libzmq;
  const link = (type: "sub" | "dealer", channel: Channel, port: number) =>
    transport.connect({
      type,
      endpoint: `ipc://${connection.ip}-${port}`,
      ...(type === "dealer" ? { identity: Buffer.from("bench") } : {}),
      onMessages: hear(channel),
    });
  const iopub = link("sub", "iopub", connection.iopub_port);
  const shell = link("dealer", "shell", connection.shell_port);
  await new Promise((resolve) => setTimeout(resolve, 300)); // for the subscription
  return {
    links: [iopub, shell],
    kernel,
    clients,
    send(message) {
      const raw = (value: unknown) => Buffer.from(JSON.stringify(value));
      const frames = {
        header: raw(message.header),
        parent_header: raw(message.parent_header),
        metadata: raw(message.metadata),
        content: raw(message.content),
      };
      const header = message.header as never;
      const said = { channel: "shell", header, raw: frames, buffers: [] };
      shell.send(
        toFrames({ ...said, parent_header: undefined } as never, signer),
      );
    },
  };
}

/** What follows the signature. */
function verified(frames: Frames, key: string): readonly Uint8Array[] {
  const at = frames.findIndex(
    (frame) =>
      frame.length === 9 && Buffer.from(frame).toString() === "<IDS|MSG>",
  );
  const [signature, ...rest] = frames.slice(at + 1);
  const hmac = createHmac("sha256", key);
  for (const frame of rest.slice(0, 4)) hmac.update(frame);
  if (hmac.digest("hex") !== Buffer.from(signature ?? []).toString())
    throw new Error("A wrong signature");
  return rest;
}

function stringified(channel: Channel, frames: readonly Uint8Array[]): string {
  const [header, parent_header, metadata, content] = frames
    .slice(0, 4)
    .map((frame) => JSON.parse(Buffer.from(frame).toString()) as unknown);
  const buffers = frames
    .slice(4)
    .map((buffer) => Buffer.from(buffer).toString("base64"));
  const whole = { header, parent_header, metadata, content, buffers };
  return JSON.stringify({ kind: "jupyter", channel, ...whole });
}

async function bodyOf(req: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of req) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}
