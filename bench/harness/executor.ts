/**
 * A process that executes code repeatedly, by one of several ways. It measures the
 * cost of an execution for the client, and how long the client waits.
 */
import { once } from "node:events";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type * as Services from "@jupyterlab/services";
import { WebSocket } from "ws";
import type * as ours from "../../client/index.ts";
import type { AppRouter } from "../../contract/index.ts";
import { launch } from "../../test/kernels/raw-client.ts";
import { Child, serveParent } from "./child.ts";
import { execute, type Message, messageOf, type Session } from "./server.ts";
import { listen, parsed, verified } from "./wire.ts";

export type Way = "channel" | "stock" | "client" | "rest" | "lab" | "direct";

interface Target {
  readonly way: Way;
  readonly url: string;
  readonly token: string;
  readonly session_id: string;
  readonly channel: string;
  readonly folder: string | undefined;
  /** The command of the kernel, which `direct` starts itself. */
  readonly argv: readonly string[];
}

type Order =
  | { readonly open: Target }
  | {
      readonly code: string;
      readonly times: number;
      readonly together: boolean;
    }
  | { readonly close: true };

const TIMEOUT_MS = 30_000;

/** The time of each execution until its reply and its `idle` status have arrived, in ms. */
export type Times = readonly number[];

export class Executor extends Child<Order> {
  constructor() {
    super("executor.ts");
  }

  async open(
    way: Exclude<Way, "direct">,
    { server, id, channel }: Session,
  ): Promise<void> {
    const { url, token, folder } = server;
    const to = { way, url, token, folder, channel, session_id: id, argv: [] };
    await this.request({ open: to });
  }

  async openDirect(argv: readonly string[]): Promise<void> {
    const unused = { url: "", token: "", session_id: "", channel: "" };
    const to = { ...unused, way: "direct" as const, folder: undefined, argv };
    await this.request({ open: to });
  }

  async execute(
    code: string,
    times: number,
    { together = false } = {},
  ): Promise<Times> {
    return (await this.request({ code, times, together })) as Times;
  }

  async close(): Promise<void> {
    await this.request({ close: true });
  }
}

interface CodeRunner {
  execute(code: string): Promise<unknown>;
  close(): unknown;
}

let runner: CodeRunner | undefined;

serveParent(import.meta.url, async (order: Order) => {
  if ("open" in order) runner = await ways[order.open.way](order.open);
  else if ("close" in order) await runner?.close();
  else {
    const { code, times, together } = order;
    const timed = async () => {
      const began = performance.now();
      await bounded(runner?.execute(code));
      return performance.now() - began;
    };
    if (together) return Promise.all(Array.from({ length: times }, timed));
    const all: number[] = [];
    while (all.length < times) all.push(await timed());
    return all;
  }
  return "done";
});

/** Rejects after the timeout: a message of the execution was lost. */
async function bounded(execution: Promise<unknown> | undefined): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const why = `an execution has not ended after ${TIMEOUT_MS / 1000} s`;
    timer = setTimeout(() => reject(new Error(why)), TIMEOUT_MS);
  });
  await Promise.race([execution, late]).finally(() => clearTimeout(timer));
}

const ways: Record<Way, (to: Target) => Promise<CodeRunner>> = {
  async channel({ channel, token }) {
    const headers = { authorization: `Bearer ${token}` };
    const socket = new WebSocket(channel, { headers });
    const pending = new Pending();
    socket.on("message", (data: Buffer) => {
      const { header, parent_header, content } = JSON.parse(
        data.toString(),
      ) as Partial<Message>;
      pending.receive(header, parent_header, content);
    });
    await once(socket, "open");
    return {
      execute(code) {
        const message = execute(code);
        socket.send(JSON.stringify(message));
        return pending.ended(String(message.header["msg_id"]));
      },
      close: () => socket.close(1000),
    };
  },

  async stock({ url, token, session_id }) {
    const { createTRPCClient, createWSClient, wsLink } =
      await import("@trpc/client");
    const socket = createWSClient({
      url: `${url.replace("http", "ws")}/trpc?token=${token}`,
      WebSocket: WebSocket as never,
    });
    const client = createTRPCClient<AppRouter>({
      links: [wsLink({ client: socket })],
    });
    return {
      async execute(code) {
        const { executions } = client;
        const input = { session_id, code };
        const { execution_id } = await executions.create.mutate(input);
        await executions.wait.mutate({ session_id, execution_id });
      },
      close: () => socket.close(),
    };
  },

  async client({ url, token, session_id, folder = "" }) {
    const file = pathToFileURL(join(folder, "dist", "client.js")).href;
    const { connect } = (await import(file)) as typeof ours;
    const client = await connect({ url, token });
    const session = client.session(session_id);
    return {
      execute: async (code) => session.execute(code),
      close: () => client[Symbol.asyncDispose](),
    };
  },

  rest({ url, token, session_id }) {
    const headers = {
      authorization: `Bearer ${token}`,
      "content-type": "application/json",
    };
    return Promise.resolve({
      async execute(code) {
        const init = {
          method: "POST",
          headers,
          body: JSON.stringify({ code }),
        };
        const address = `${url}/sessions/${session_id}/execute`;
        const response = await fetch(address, init);
        const text = await response.text();
        if (!response.ok) throw new Error(`${response.status} ${text}`);
      },
      close: () => {},
    });
  },

  async lab({ url, token, session_id }) {
    const { KernelConnection, ServerConnection } = createRequire(
      import.meta.url,
    )("@jupyterlab/services") as typeof Services;
    const serverSettings = ServerConnection.makeSettings({
      baseUrl: `${url}/`,
      wsUrl: `${url.replace("http", "ws")}/`,
      token,
      appendToken: true,
      WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
    });
    const kernel = new KernelConnection({
      serverSettings,
      model: { id: session_id, name: session_id },
    });
    await kernel.info;
    return {
      async execute(code) {
        await kernel.requestExecute({ code, store_history: false }).done;
      },
      close: () => kernel.dispose(),
    };
  },

  async direct({ argv }) {
    const kernel = await launch({ argv });
    const { connection } = kernel;
    const pending = new Pending();
    let subscribed = () => {};
    const ready = new Promise<void>((resolve) => (subscribed = resolve));
    const sockets = listen(connection, "zmtp", (channel, frames) => {
      if (channel === "iopub") subscribed();
      const { header, parent_header, content } = parsed(
        verified(frames, connection.key),
      );
      pending.receive(header, parent_header, content);
    });
    const timer = setInterval(
      () => sockets.send(messageOf("kernel_info_request", {})),
      100,
    );
    await ready; // the kernel has received the subscription
    clearInterval(timer);
    return {
      execute(code) {
        const message = execute(code);
        sockets.send(message);
        return pending.ended(String(message.header["msg_id"]));
      },
      async close() {
        sockets.close();
        await kernel[Symbol.asyncDispose]();
      },
    };
  },
};

/** The executions that have not ended. An execution ends when its reply and its `idle` status have both arrived. */
class Pending {
  readonly #all = new Map<string, { left: number; done: () => void }>();

  ended(id: string): Promise<void> {
    return new Promise((done) => this.#all.set(id, { left: 2, done }));
  }

  receive(
    header: Readonly<Record<string, unknown>> | undefined,
    parent: Readonly<Record<string, unknown>> | null | undefined,
    content: Readonly<Record<string, unknown>> | undefined,
  ): void {
    const isIdle =
      header?.["msg_type"] === "status" &&
      content?.["execution_state"] === "idle";
    if (!isIdle && header?.["msg_type"] !== "execute_reply") return;
    const id = String(parent?.["msg_id"]);
    const waiting = this.#all.get(id);
    if (waiting === undefined) return;
    waiting.left -= 1;
    if (waiting.left > 0) return;
    this.#all.delete(id);
    waiting.done();
  }
}
