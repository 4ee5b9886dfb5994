/**
 * All ways to receive from a session and to send to it, with one interface: a
 * door attaches a client that records what it receives, in the contract's form.
 * The promises about messages are tested once, over each door.
 */
import { randomUUID } from "node:crypto";
import { get as httpGet } from "node:http";
import {
  createTRPCClient,
  createWSClient,
  type TRPCClient,
  wsLink,
} from "@trpc/client";
import { WebSocket } from "ws";
import type { AppRouter } from "../contract/index.ts";
import { type TestServer, TOKEN } from "./harness.ts";

export interface Received {
  readonly kind: string;
  readonly seq: number;
  readonly channel?: string;
  readonly header?: Readonly<Record<string, unknown>> & {
    readonly msg_id: string;
    readonly msg_type: string;
  };
  readonly parent_header?: { readonly msg_id: string } | null;
  readonly content?: Readonly<Record<string, unknown>>;
  readonly metadata?: unknown;
  readonly buffers?: readonly string[];
  readonly [more: string]: unknown;
}

export interface Sent {
  readonly channel: "shell" | "control" | "stdin";
  readonly msg_type: string;
  readonly content: Readonly<Record<string, unknown>>;
  readonly parent_header?: unknown;
  readonly buffers?: readonly string[];
  readonly msg_id?: string;
  readonly metadata?: Readonly<Record<string, unknown>>;
}

export interface Door {
  readonly name: string;
  /** Attaches after number `after`. Default: the beginning. */
  attach(
    server: TestServer,
    session_id: string,
    after?: number,
  ): Promise<TestClient>;
}

const TIMEOUT_MS = 20_000;

export class TestClient implements AsyncDisposable {
  readonly received: Received[] = [];
  readonly #speak: (message: Record<string, unknown>) => void | Promise<void>;
  readonly #leave: () => void | Promise<void>;
  readonly #waiting = new Set<() => void>();

  constructor(
    speak: (message: Record<string, unknown>) => void | Promise<void>,
    leave: () => void | Promise<void>,
  ) {
    this.#speak = speak;
    this.#leave = leave;
  }

  receive(event: Received): void {
    this.received.push(event);
    for (const wake of this.#waiting) wake();
  }

  /** Resolves with the `msg_id` when the door has taken the message. */
  async send({ channel, msg_type, content, ...more }: Sent): Promise<string> {
    const msg_id = more.msg_id ?? randomUUID();
    await this.#speak({
      channel,
      header: {
        msg_id,
        msg_type,
        session: "the-client",
        username: "tester",
        date: "2026-01-01T00:00:00.000Z",
        version: "5.3",
      },
      parent_header: more.parent_header ?? null,
      metadata: more.metadata ?? {},
      content,
      buffers: more.buffers ?? [],
    });
    return msg_id;
  }

  execute(
    code: string,
    more: Readonly<Record<string, unknown>> = {},
  ): Promise<string> {
    const content = {
      code,
      silent: false,
      store_history: true,
      user_expressions: {},
      allow_stdin: true,
      stop_on_error: true,
      ...more,
    };
    return this.send({
      channel: "shell",
      msg_type: "execute_request",
      content,
    });
  }

  /** Resolves with the first event that fits, received before or after the call. */
  async until(
    what: string,
    fits: (event: Received) => boolean,
  ): Promise<Received> {
    const deadline = AbortSignal.timeout(TIMEOUT_MS);
    for (let looked = 0; ;) {
      for (; looked < this.received.length; looked += 1) {
        const event = this.received[looked];
        if (event !== undefined && fits(event)) return event;
      }
      if (deadline.aborted) {
        const last = this.received.slice(-20).map(shortly).join("\n  ");
        throw new Error(
          `Timed out while waiting for ${what}; the last was\n  ${last}`,
        );
      }
      await new Promise<void>((resolve) => {
        const wake = () => {
          this.#waiting.delete(wake);
          deadline.removeEventListener("abort", wake);
          resolve();
        };
        this.#waiting.add(wake);
        deadline.addEventListener("abort", wake);
      });
    }
  }

  reply(msg_id: string): Promise<Received> {
    return this.until(
      `a reply to ${msg_id}`,
      ({ channel, parent_header }) =>
        channel !== "iopub" &&
        channel !== "stdin" &&
        parent_header?.msg_id === msg_id,
    );
  }

  idle(msg_id: string): Promise<Received> {
    return this.until(
      `idle of ${msg_id}`,
      ({ header, parent_header, content }) =>
        header?.msg_type === "status" &&
        parent_header?.msg_id === msg_id &&
        content?.["execution_state"] === "idle",
    );
  }

  /** Resolves when both reply and idle were received. */
  async over(msg_id: string): Promise<Received> {
    const [reply] = await Promise.all([this.reply(msg_id), this.idle(msg_id)]);
    return reply;
  }

  /** The messages on iopub that this request caused. */
  messagesFor(msg_id: string): Received[] {
    return this.received.filter(
      ({ channel, parent_header }) =>
        channel === "iopub" && parent_header?.msg_id === msg_id,
    );
  }

  /** The supervisor's own statuses, in order. */
  get statuses(): string[] {
    return this.received
      .filter(({ kind }) => kind === "status")
      .map(({ status }) => String(status));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#leave();
  }
}

function shortly({ seq, kind, channel, header, ...more }: Received): string {
  const what =
    kind === "jupyter"
      ? `${channel ?? ""} ${header?.msg_type ?? ""}`
      : JSON.stringify(more);
  return `${seq} ${kind} ${what}`.slice(0, 200);
}

const trpc: Door = {
  name: "tRPC",
  async attach(server, session_id, after) {
    const { client, close } = trpcClient(server);
    const test = new TestClient(
      async (message) => {
        await client.sessions.send.mutate({ ...message, session_id } as never);
      },
      () => {
        subscription.unsubscribe();
        return close();
      },
    );
    let started = () => {};
    const isStarted = new Promise<void>((resolve) => (started = resolve));
    const subscription = client.sessions.events.subscribe(
      {
        session_id,
        ...(after !== undefined && { lastEventId: String(after) }),
      },
      {
        onStarted: () => started(),
        onData: ({ data }) => test.receive(data as Received),
      },
    );
    await isStarted;
    return test;
  },
};

/** A stock tRPC client over one WebSocket. */
export function trpcClient(server: TestServer): {
  client: TRPCClient<AppRouter>;
  close: () => Promise<void>;
} {
  const socket = createWSClient({
    url: `${server.url.replace("http", "ws")}/trpc?token=${TOKEN}`,
    WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
  });
  return {
    client: createTRPCClient<AppRouter>({
      links: [wsLink({ client: socket })],
    }),
    close: () => socket.close(),
  };
}

const rest: Door = {
  name: "REST",
  attach: (server, session_id, after) =>
    new Promise((resolve, reject) => {
      const req = httpGet(
        `${server.url}/sessions/${session_id}/events`,
        {
          agent: false,
          headers: {
            authorization: `Bearer ${TOKEN}`,
            ...(after !== undefined && { "last-event-id": String(after) }),
          },
        },
        (res) => {
          const test = new TestClient(
            async (message) => {
              const path = `/sessions/${session_id}/messages`;
              const answer = await server.ask("POST", path, message);
              if (answer.status !== 202) throw new Error(answer.text);
            },
            () => {
              req.destroy();
            },
          );
          const pieces: string[] = []; // the beginning of an incomplete event
          res.setEncoding("utf8");
          res.on("error", () => {}); // the test has closed the connection
          res.on("data", (text: string) => {
            const seam = (pieces.at(-1)?.at(-1) ?? "") + text;
            pieces.push(text);
            if (!seam.includes("\n\n")) return;
            const blocks = pieces.splice(0).join("").split("\n\n");
            pieces.push(blocks.pop() ?? "");
            for (const block of blocks) {
              const data = /^data: (.*)$/m.exec(block)?.[1];
              if (data !== undefined)
                test.receive(JSON.parse(data) as Received);
            }
          });
          resolve(test);
        },
      );
      req.on("error", reject);
    }),
};

const kallichore: Door = {
  name: "the Kallichore channel",
  async attach(server, session_id) {
    const socket = new WebSocket(
      `${server.url.replace("http", "ws")}/sessions/${session_id}/channels?events=all`,
      { headers: { authorization: `Bearer ${TOKEN}` } },
    );
    const test = new TestClient(
      (message) => socket.send(JSON.stringify(message)),
      () =>
        new Promise((resolve) => {
          socket.once("close", () => resolve());
          socket.close();
        }),
    );
    socket.on("message", (data: Buffer) => {
      test.receive(fromKallichore(JSON.parse(data.toString()) as Received));
    });
    await new Promise((resolve, reject) => {
      socket.once("open", resolve);
      socket.once("error", reject);
    });
    return test;
  },
};

/** Converts an event of the supervisor from Kallichore's form to the contract's. */
function fromKallichore(frame: Received): Received {
  if (frame.kind === "jupyter") return frame;
  const { seq } = frame;
  const { status, exited, execution } = frame as {
    status?: Record<string, unknown>;
    exited?: number;
    execution?: Record<string, unknown>;
  };
  if (status !== undefined) return { kind: "status", seq, ...status };
  if (execution !== undefined) return { kind: "execution", seq, ...execution };
  if (exited !== undefined) return { kind: "exited", seq, exit_code: exited };
  return {
    ...frame,
    kind:
      Object.keys(frame).find((key) => key !== "kind" && key !== "seq") ??
      "kernel",
  };
}

export const doors: readonly Door[] = [trpc, rest, kallichore];
