/**
 * A kernel's process and a client that speaks raw ZeroMQ to it. It tests the
 * kernels independently of the server's own sockets.
 *
 * Every wait has a timeout, and everything that a launch made is removed with
 * it.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomUUID } from "node:crypto";
import { Dealer, Subscriber } from "zeromq";
import {
  FrameReader,
  Signer,
  toFrames,
  type ReceivedMessage,
} from "../../src/jupyter/frames.ts";
import { compose, contentOf, type Channel } from "../../src/jupyter/message.ts";
import { endpointOf, type ConnectionInfo } from "../../kernels/connection.ts";

const TIMEOUT_MS = 60_000;

export type Content = Readonly<Record<string, unknown>>;

export interface Launch {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Default: a connection file with new ipc sockets. */
  readonly file?: Readonly<Record<string, unknown>>;
}

/** Starts the process without waiting for it. */
export async function launch({ argv, env, file }: Launch): Promise<Launched> {
  const folder = await mkdtemp(join(tmpdir(), "kernel-"));
  const connection = ipcConnection(folder);
  const connection_file = join(folder, "connection.json");
  await writeFile(connection_file, JSON.stringify(file ?? connection));
  const [program = "", ...args] = argv.map((argument) =>
    argument.replace("{connection_file}", connection_file),
  );
  const child = spawn(program, args, {
    env: { ...process.env, ...env, JPY_PARENT_PID: String(process.pid) },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return new Launched(child, { connection, connection_file, folder });
}

/** Sockets as files, so that ports cannot collide. */
function ipcConnection(folder: string): ConnectionInfo {
  return {
    transport: "ipc",
    ip: join(folder, "s"),
    shell_port: 1,
    iopub_port: 2,
    stdin_port: 3,
    control_port: 4,
    hb_port: 5,
    key: randomUUID(),
    signature_scheme: "hmac-sha256",
  };
}

export class Launched implements AsyncDisposable {
  readonly child: ChildProcess;
  readonly connection: ConnectionInfo;
  readonly connection_file: string;
  /** Resolves with the exit code, or the signal. */
  readonly exited: Promise<number | NodeJS.Signals | null>;
  stdout = "";
  stderr = "";
  readonly #folder: string;

  constructor(
    child: ChildProcess,
    place: {
      readonly connection: ConnectionInfo;
      readonly connection_file: string;
      readonly folder: string;
    },
  ) {
    this.child = child;
    this.connection = place.connection;
    this.connection_file = place.connection_file;
    this.#folder = place.folder;
    child.stdout?.on("data", (text) => (this.stdout += String(text)));
    child.stderr?.on("data", (text) => (this.stderr += String(text)));
    this.exited = once(child, "close").then(
      () => child.exitCode ?? child.signalCode,
    );
  }

  /** Resolves when the process has written this on its stderr. */
  async complained(text: string): Promise<void> {
    while (!this.stderr.includes(text)) {
      if (this.child.stderr !== null) await once(this.child.stderr, "data");
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode === null) this.child.kill("SIGKILL");
    await this.exited;
    await rm(this.#folder, { recursive: true });
  }
}

/** Connects all channels, and waits until messages pass both ways. */
export async function connect(connection: ConnectionInfo): Promise<RawClient> {
  const client = new RawClient(connection);
  try {
    await client.ready();
  } catch (error) {
    client[Symbol.dispose]();
    throw error;
  }
  return client;
}

export class RawClient implements Disposable {
  readonly signer: Signer;
  readonly #dealers: Readonly<Record<"shell" | "control" | "stdin", Dealer>>;
  readonly #iopub = new Subscriber({ linger: 0, receiveHighWaterMark: 0 });
  readonly #heart = new Dealer({ linger: 0, receiveTimeout: 2_000 });
  readonly #session = randomUUID();
  readonly #received: ReceivedMessage[] = [];
  readonly #waiting = new Set<() => void>();
  /** Resolves when the kernel can send input requests; its socket drops earlier ones. */
  readonly #canBeAsked: Promise<unknown>;

  constructor(connection: ConnectionInfo) {
    this.signer = new Signer(connection.key, connection.signature_scheme);
    const routingId = randomUUID();
    const dealer = () =>
      new Dealer({ linger: 0, routingId, reconnectInterval: 20 });
    this.#dealers = { shell: dealer(), control: dealer(), stdin: dealer() };
    const { stdin } = this.#dealers;
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    this.#canBeAsked = new Promise((resolve, reject) => {
      stdin.events.on("handshake", resolve);
      signal.addEventListener("abort", () => reject(signal.reason as Error));
    });
    this.#canBeAsked.catch(() => {}); // `ready` awaits it
    const { transport, ip } = connection;
    for (const channel of ["shell", "control", "stdin"] as const) {
      const socket = this.#dealers[channel];
      socket.connect(endpointOf(transport, ip, connection[`${channel}_port`]));
      void this.#read(channel, socket);
    }
    this.#iopub.reconnectInterval = 20;
    this.#iopub.connect(endpointOf(transport, ip, connection.iopub_port));
    this.#iopub.subscribe();
    void this.#read("iopub", this.#iopub);
    this.#heart.connect(endpointOf(transport, ip, connection.hb_port));
  }

  /** Requests the kernel info until an answer and a message on iopub have arrived; forgets the messages received meanwhile. */
  async ready(): Promise<void> {
    const requested: string[] = [];
    const ours = ({ parent_header }: ReceivedMessage) =>
      parent_header !== undefined && requested.includes(parent_header.msg_id);
    const deadline = Date.now() + TIMEOUT_MS;
    for (;;) {
      requested.push(await this.request("shell", "kernel_info_request", {}));
      try {
        await this.wait(
          (message) => ours(message) && message.channel === "shell",
          5_000,
        );
        await this.wait(
          (message) => ours(message) && message.channel === "iopub",
          200,
        );
        await this.#canBeAsked;
        return;
      } catch (error) {
        if (Date.now() > deadline) throw error;
      }
    }
  }

  /** Returns the request's msg_id. */
  async request(
    channel: "shell" | "control" | "stdin",
    msg_type: string,
    content: unknown,
    buffers: readonly Uint8Array[] = [],
  ): Promise<string> {
    const message = compose({
      channel,
      msg_type,
      content,
      session: this.#session,
      username: "tester",
      buffers,
    });
    await this.#dealers[channel].send(toFrames(message, this.signer));
    return message.header.msg_id;
  }

  execute(code: string, more: Content = {}): Promise<string> {
    return this.request("shell", "execute_request", {
      code,
      silent: false,
      store_history: true,
      user_expressions: {},
      allow_stdin: true,
      stop_on_error: true,
      ...more,
    });
  }

  /** Sends a request, and returns the content of the answer. */
  async ask(
    msg_type: string,
    content: Content = {},
    channel: "shell" | "control" = "shell",
  ): Promise<Content> {
    const msg_id = await this.request(channel, msg_type, content);
    return this.reply(msg_id);
  }

  async reply(msg_id: string): Promise<Content> {
    const message = await this.wait(
      ({ channel, parent_header }) =>
        parent_header?.msg_id === msg_id &&
        (channel === "shell" || channel === "control"),
    );
    return contentOf(message) as Content;
  }

  /** The messages on iopub for a request, from its busy to its idle, without these two. */
  async outputs(msg_id: string): Promise<readonly ReceivedMessage[]> {
    const of = ({ channel, parent_header }: ReceivedMessage) =>
      channel === "iopub" && parent_header?.msg_id === msg_id;
    await this.wait((message) => of(message) && stateOf(message) === "idle");
    return this.#received
      .filter(of)
      .filter((message) => stateOf(message) === undefined);
  }

  /** Executes to the end: the reply, and the outputs as [msg_type, content]. */
  async run(code: string, more: Content = {}) {
    const msg_id = await this.execute(code, more);
    const outputs = (await this.outputs(msg_id)).map(toPair);
    return { reply: await this.reply(msg_id), outputs };
  }

  /** The first message that `wanted` accepts, received before or after this call. */
  async wait(
    wanted: (message: ReceivedMessage) => boolean,
    timeout_ms = TIMEOUT_MS,
  ): Promise<ReceivedMessage> {
    const timeout = AbortSignal.timeout(timeout_ms);
    let seen = 0;
    for (;;) {
      for (; seen < this.#received.length; seen += 1) {
        const message = this.#received[seen];
        if (message !== undefined && wanted(message)) return message;
      }
      await this.#more(timeout);
    }
  }

  /** All messages received so far, in order of arrival. */
  get received(): readonly ReceivedMessage[] {
    return this.#received;
  }

  /** Whether the heartbeat was answered within two seconds. */
  async beats(): Promise<boolean> {
    const beat = randomUUID();
    await this.#heart.send(["", beat]);
    try {
      const [, echo] = await this.#heart.receive();
      return String(echo) === beat;
    } catch {
      return false; // the receive timed out
    }
  }

  [Symbol.dispose](): void {
    for (const socket of Object.values(this.#dealers)) socket.close();
    this.#iopub.close();
    this.#heart.close();
  }

  async #read(channel: Channel, socket: Dealer | Subscriber): Promise<void> {
    const reader = new FrameReader(this.signer);
    for await (const frames of socket) {
      this.#received.push(reader.read(frames, channel));
      for (const wake of this.#waiting) wake();
    }
  }

  async #more(timeout: AbortSignal): Promise<void> {
    await new Promise<void>((resolve, reject) => {
      const wake = () => {
        this.#waiting.delete(wake);
        timeout.removeEventListener("abort", give);
        resolve();
      };
      const give = () => {
        this.#waiting.delete(wake);
        const last = this.#received
          .slice(-5)
          .map(({ header }) => header.msg_type);
        reject(
          new Error(`Not received in time; the last were ${last.join(", ")}`),
        );
      };
      this.#waiting.add(wake);
      timeout.addEventListener("abort", give);
    });
  }
}

export function toPair(message: ReceivedMessage): readonly [string, Content] {
  return [message.header.msg_type, contentOf(message) as Content];
}

export function stateOf(message: ReceivedMessage): unknown {
  if (message.header.msg_type !== "status") return undefined;
  return (contentOf(message) as Content)["execution_state"];
}
