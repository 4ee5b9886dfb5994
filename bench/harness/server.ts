/**
 * A measured server in its own process: ours from any checkout, another `kcserver`,
 * or Jupyter Server.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { WebSocket } from "ws";
import { Missing } from "./kernel.ts";
import type { Checkout, Options } from "./options.ts";
import { ended, later, owned } from "./process.ts";

const START_MS = 30_000;
const TOKEN = "bench";

export type Kind = "ours" | "kcserver" | "jupyter" | "plain";

export interface Server extends AsyncDisposable {
  readonly name: string;
  readonly kind: Kind;
  readonly pid: number;
  readonly child: ChildProcess;
  /** Its keeper, whose processor time counts too; 0: it has none yet. */
  readonly keeperPid?: () => number;
  readonly url: string;
  readonly token: string;
  /** The folder of the checkout, for its client. Only for our own server. */
  readonly folder: string | undefined;
  /** Starts a kernel in a new session. Resolves when it is ready. */
  start(argv: readonly string[]): Promise<Session>;
}

export interface Session extends AsyncDisposable {
  readonly id: string;
  readonly server: Server;
  /** The address of its channels, a WebSocket. */
  readonly channel: string;
  /** Sends a message to the kernel, without an attached client. */
  send(message: Message): Promise<void>;
}

export interface Message {
  readonly channel: "shell" | "control" | "stdin";
  readonly header: Readonly<Record<string, unknown>>;
  readonly parent_header: Readonly<Record<string, unknown>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly content: Readonly<Record<string, unknown>>;
  readonly buffers: readonly string[];
}

let made = 0;

export function messageOf(
  msg_type: string,
  content: Message["content"],
): Message {
  made += 1;
  return {
    channel: "shell",
    header: {
      msg_id: `bench-${process.pid}-${made}`,
      msg_type,
      session: "bench",
      username: "bench",
      date: new Date().toISOString(),
      version: "5.3",
    },
    parent_header: {},
    metadata: {},
    content,
    buffers: [],
  };
}

export function execute(code: string): Message {
  return messageOf("execute_request", {
    code,
    silent: false,
    store_history: false,
    user_expressions: {},
    allow_stdin: false,
    stop_on_error: true,
  });
}

/** All servers that the options name. The first one is the one that the others are compared with. */
export async function serversOf(
  options: Options,
  { jupyter = false, args = [] as readonly string[] } = {},
): Promise<Servers> {
  const all = new Servers();
  const { kcserver } = options;
  try {
    if (kcserver !== undefined) {
      all.list.push(
        await startKcserver("kcserver", {
          argv: [kcserver],
          args,
          kind: "kcserver",
        }),
      );
    }
    for (const checkout of options.ours)
      all.list.push(await startOurs(checkout, args));
    if (jupyter && options.jupyter !== undefined) {
      all.list.push(await startJupyter(options.jupyter, { nagle: true }));
      all.list.push(await startJupyter(options.jupyter, { nagle: false }));
    }
  } catch (error) {
    await all[Symbol.asyncDispose]();
    throw error;
  }
  return all;
}

export class Servers implements AsyncDisposable {
  readonly list: Server[] = [];

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.list) await server[Symbol.asyncDispose]();
  }
}

export function programOf({ folder }: Checkout): string {
  const program = join(folder, "dist", "bin", "kcserver.js");
  if (existsSync(program)) return program;
  throw new Missing("there is no built server: run npm run build");
}

export function startOurs(
  checkout: Checkout,
  args: readonly string[] = [],
): Promise<Server> {
  return startKcserver(checkout.name, {
    argv: [process.execPath, ...profiling(checkout), programOf(checkout)],
    args,
    kind: "ours",
    folder: checkout.folder,
  });
}

function profiling({ profiles }: Checkout): string[] {
  if (profiles === undefined) return [];
  return ["--cpu-prof", `--cpu-prof-dir=${profiles}`];
}

/** Starts a program that has the command line of `kcserver`. */
export async function startKcserver(
  name: string,
  {
    argv,
    args,
    kind,
    folder,
  }: {
    readonly argv: readonly string[];
    readonly args: readonly string[];
    readonly kind: Kind;
    readonly folder?: string;
  },
): Promise<Server> {
  const room = mkdtempSync(join(tmpdir(), "bench-"));
  writeFileSync(join(room, "token"), TOKEN);
  const file = join(room, "connection.json");
  const [command = "", ...before] = argv;
  const child = owned(
    spawn(
      command,
      [
        ...before,
        ...["--token", join(room, "token"), "--connection-file", file],
        ...["--transport", "tcp", "--log-level", "error", ...args],
      ],
      { stdio: ["ignore", "ignore", "inherit"] },
    ),
  );
  const connection = await waitFor(child, () => {
    if (!existsSync(file)) return undefined;
    return JSON.parse(readFileSync(file, "utf8")) as { base_path: string };
  });
  return serverAt(connection.base_path, { name, kind, folder, child, room });
}

/** Starts `kallichore serve`; with `--keep`, a keeper holds its kernels. `room`: the folder for its state. Default: a new one, which is removed at the end. */
export async function startServe(
  { folder, name, profiles }: Checkout,
  {
    isKeeping,
    room: given,
    args = [],
  }: {
    readonly isKeeping: boolean;
    readonly room?: string;
    readonly args?: readonly string[];
  },
): Promise<Server> {
  const room = given ?? mkdtempSync(join(tmpdir(), "bench-"));
  const state = join(room, "state");
  const child = owned(
    spawn(
      process.execPath,
      [
        ...profiling({ folder, name, profiles }),
        join(folder, "dist", "bin", "kallichore.js"),
        ...["serve", "--json", "--log-level", "error"],
        ...["--resource-sample-interval", "0"],
        ...(isKeeping ? ["--keep", "--state-dir", state] : []),
        ...args,
      ],
      {
        stdio: ["ignore", "pipe", "inherit"],
        env: { ...process.env, KALLICHORE_TOKEN: TOKEN },
      },
    ),
  );
  let printed = "";
  child.stdout.on("data", (text: Buffer) => (printed += text.toString()));
  const url = await waitFor(child, () =>
    printed.includes("\n")
      ? (JSON.parse(printed) as { url: string }).url.replace(/\/$/, "")
      : undefined,
  );
  return serverAt(url, {
    name: isKeeping ? `${name} --keep` : name,
    kind: "ours",
    folder,
    child,
    room: given === undefined ? room : undefined,
    ...(isKeeping && { keeperPid: () => keeperIn(room) }),
  });
}

/** The process id of the keeper of the state in this folder; 0 if there is none. */
export function keeperIn(room: string): number {
  const file = join(room, "state", "default", "keeper.json");
  if (!existsSync(file)) return 0;
  return (JSON.parse(readFileSync(file, "utf8")) as { pid: number }).pid;
}

/** A server with Kallichore's addresses. */
function serverAt(
  url: string,
  {
    name,
    kind,
    folder,
    child,
    room,
    keeperPid,
  }: {
    readonly name: string;
    readonly kind: Kind;
    readonly folder: string | undefined;
    readonly child: ChildProcess;
    /** Its files, which are removed at the end. */
    readonly room: string | undefined;
    readonly keeperPid?: () => number;
  },
): Server {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const call = (method: string, path: string, body?: unknown) =>
    requestJson(`${url}${path}`, { method, headers }, body);
  const server: Server = {
    name,
    kind,
    pid: child.pid ?? 0,
    child,
    ...(keeperPid !== undefined && { keeperPid }),
    url,
    token: TOKEN,
    folder,
    start: async (kernel) => {
      const id = `bench-${(made += 1)}`;
      await call("PUT", "/sessions", specOf(id, kernel));
      await call("POST", `/sessions/${id}/start`);
      const channel = `${url.replace("http", "ws")}/sessions/${id}/channels`;
      return {
        id,
        server,
        channel,
        async send(message) {
          if (kind === "ours")
            await call("POST", `/sessions/${id}/messages`, message);
          else await sendAndClose(channel, TOKEN, message);
        },
        async [Symbol.asyncDispose]() {
          await call("POST", `/sessions/${id}/kill`).catch(() => {});
          for (let tries = 0; tries < 100; tries += 1) {
            const isGone = await call("DELETE", `/sessions/${id}`).then(
              () => true,
              () => false,
            );
            if (isGone) return;
            await later(20);
          }
          throw new Error(`${name} does not delete a session`);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      // Otherwise the keeper would live for some seconds more.
      if (keeperPid !== undefined) await call("POST", "/shutdown");
      await ended(child);
      if (room !== undefined) rmSync(room, { recursive: true, force: true });
    },
  };
  return server;
}

/** A new session, as Kallichore's clients request it. */
export function specOf(session_id: string, argv: readonly string[]) {
  return {
    session_id,
    display_name: session_id,
    language: "bench",
    username: "bench",
    input_prompt: ">>> ",
    continuation_prompt: "... ",
    argv,
    session_mode: "console",
    working_directory: tmpdir(),
    notebook_uri: null,
    env: [],
    connection_timeout: 30,
    interrupt_mode: "message",
    protocol_version: "5.3",
    run_in_shell: false,
  };
}

/** `nagle`: whether Nagle's algorithm stays as Jupyter Server sets it; otherwise it is off. */
async function startJupyter(
  python: string,
  { nagle }: { readonly nagle: boolean },
): Promise<Server> {
  const room = mkdtempSync(join(tmpdir(), "bench-jupyter-"));
  const port = await freePort();
  if (!nagle) writeFileSync(join(room, "sitecustomize.py"), NO_NAGLE);
  const child = owned(
    spawn(
      python,
      [
        ...["-m", "jupyter_server", `--ServerApp.port=${port}`, "--no-browser"],
        ...["--ServerApp.ip=127.0.0.1", `--IdentityProvider.token=${TOKEN}`],
        ...[
          "--allow-root",
          "--ZMQChannelsWebsocketConnection.limit_rate=False",
        ],
        `--ServerApp.root_dir=${room}`,
      ],
      {
        stdio: ["ignore", "ignore", "ignore"],
        env: {
          ...process.env,
          JUPYTER_PATH: room,
          JUPYTER_RUNTIME_DIR: room,
          JUPYTER_CONFIG_DIR: room,
          PYTHONPATH: room,
        },
      },
    ),
  );
  const url = `http://127.0.0.1:${port}`;
  const headers = { authorization: `token ${TOKEN}` };
  await waitFor(child, async () =>
    (await fetch(`${url}/api`, { headers }).catch(() => undefined))?.ok === true
      ? url
      : undefined,
  );
  const server: Server = {
    name: nagle ? "Jupyter Server" : "Jupyter Server, no Nagle",
    kind: "jupyter",
    pid: child.pid ?? 0,
    child,
    url,
    token: TOKEN,
    folder: undefined,
    start: async (argv) => {
      const name = `bench-${(made += 1)}`;
      const home = join(room, "kernels", name);
      mkdirSync(home, { recursive: true });
      const spec = { argv, display_name: name, language: "bench" };
      writeFileSync(join(home, "kernel.json"), JSON.stringify(spec));
      const post = { method: "POST", headers };
      const kernel = await requestJson(`${url}/api/kernels`, post, { name });
      const { id } = kernel as { id: string };
      const channel = `${url.replace("http", "ws")}/api/kernels/${id}/channels`;
      return {
        id,
        server,
        channel,
        // Jupyter Server drops the messages of a client that leaves before its channels are connected.
        send: (message) =>
          sendAndClose(channel, TOKEN, message, { awaitsEffect: true }),
        async [Symbol.asyncDispose]() {
          const gone = { method: "DELETE", headers };
          await requestJson(`${url}/api/kernels/${id}`, gone);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await ended(child);
      rmSync(room, { recursive: true, force: true });
    },
  };
  return server;
}

const NO_NAGLE = `
import socket
import tornado.iostream
init = tornado.iostream.IOStream.__init__
def without_nagle(self, sock, *args, **more):
    if sock.family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    init(self, sock, *args, **more)
tornado.iostream.IOStream.__init__ = without_nagle
tornado.iostream.IOStream.set_nodelay = lambda self, value: None  # Tornado turns it on again after a response
`;

async function requestJson(
  url: string,
  { method, headers }: { method: string; headers: Record<string, string> },
  body?: unknown,
): Promise<unknown> {
  const json = body === undefined ? null : JSON.stringify(body);
  const all = { ...headers, "content-type": "application/json" };
  const response = await fetch(url, { method, headers: all, body: json });
  const text = await response.text();
  if (!response.ok)
    throw new Error(`${method} ${url}: ${response.status} ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

/** Opens the channels, sends the message, and closes them. */
async function sendAndClose(
  channel: string,
  token: string,
  message: Message,
  { awaitsEffect = false } = {},
): Promise<void> {
  const headers = { authorization: `Bearer ${token}` };
  const socket = new WebSocket(channel, { headers });
  const taken = new Promise<void>((resolve) =>
    socket.on("message", (data: Buffer) => {
      if (data.includes(message.header["msg_id"] as string)) resolve();
    }),
  );
  await once(socket, "open");
  socket.send(JSON.stringify(message));
  if (awaitsEffect) await Promise.race([taken, once(socket, "close")]);
  socket.close(1000);
  await once(socket, "close");
}

async function waitFor<T>(
  child: ChildProcess,
  look: () => T | undefined | Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + START_MS;
  while (performance.now() < deadline) {
    const found = await look();
    if (found !== undefined) return found;
    if (child.exitCode !== null) break;
    await later(20);
  }
  await ended(child);
  throw new Error(`${child.spawnfile} did not start`);
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  return port;
}
