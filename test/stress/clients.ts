/**
 * Clients that reconnect: each follows one session through connections that
 * break, with its protocol's means, and checks everything at once, so that a
 * run of any length needs little memory. It repeats a note, with the same
 * `msg_id`, until its answer arrives.
 */
import { randomUUID } from "node:crypto";
import { get as httpGet } from "node:http";
import { createTRPCClient, createWSClient, wsLink } from "@trpc/client";
import { WebSocket } from "ws";
import type { AppRouter } from "../../contract/index.ts";
import type { Received } from "../doors.ts";
import { ask, TOKEN } from "../harness.ts";

/** How long a client waits for an answer before it repeats the note. */
const REPEAT_MS = 150;
const COME_BACK_MS = 10;

export interface Target {
  readonly url: string;
  readonly session_id: string;
}

/** The interface of a protocol for such a client. */
interface Way {
  readonly name: string;
  /** Follows until `signal` aborts. */
  open(target: Target, client: StressClient, signal: AbortSignal): Link;
}

interface Link {
  /** May fail, at once or later, or be lost. */
  send(message: Readonly<Record<string, unknown>>): unknown;
  /** Resolves when everything that was opened is closed. */
  readonly closed: Promise<unknown>;
  /** Resolves when it is attached for the first time. Set if it does not receive what was sent before. */
  readonly opened?: Promise<unknown>;
}

export class StressClient implements AsyncDisposable {
  readonly name: string;
  /** The newest received number: every number up to it was received once, and in order. */
  last = 0;
  /** The number of received messages that the kernel numbers; each number follows the one before. */
  counted = 0;
  /** The number of repeated messages; only a protocol without acknowledgement may repeat. */
  repeats = 0;
  /** Errors in the received messages. */
  readonly complaints: string[] = [];
  readonly #link: Link;
  readonly #stop = new AbortController();
  /** Notes that were answered since this client's last own one, from any sender. */
  readonly #answered = new Set<string>();

  constructor(way: Way, target: Target) {
    this.name = way.name;
    this.#link = way.open(target, this, this.#stop.signal);
  }

  /** Resolves when it receives all that is sent from now on. */
  get opened(): Promise<unknown> {
    return this.#link.opened ?? Promise.resolve();
  }

  receive(event: Received, mayRepeat = false): void {
    if (mayRepeat && event.seq <= this.last) {
      this.repeats += 1;
      return;
    }
    if (event.seq !== this.last + 1 || event.kind === "gap") {
      this.complaints.push(`${event.kind} ${event.seq} after ${this.last}`);
    }
    this.last = event.seq;
    const { channel, header, parent_header, content } = event;
    if (channel === "control") this.#answered.add(parent_header?.msg_id ?? "");
    if (header?.msg_type === "stream") this.#count(countIn(content));
  }

  /** A message of a protocol without numbers, which may repeat what was not acknowledged. */
  receiveUnnumbered({ channel, header, parent_header, content }: Received) {
    if (channel === "control") this.#answered.add(parent_header?.msg_id ?? "");
    if (header?.msg_type !== "stream") return;
    const n = countIn(content);
    if (n <= this.counted) this.repeats += 1;
    else this.#count(n);
  }

  #count(n: number): void {
    this.counted += 1;
    if (n === this.counted) return;
    this.complaints.push(`${n} where the kernel counted ${this.counted}`);
  }

  /** Resolves when the answer has arrived. */
  async note(note: string, signal: AbortSignal): Promise<void> {
    const msg_id = randomUUID();
    const message = {
      channel: "control",
      header: {
        msg_id,
        msg_type: "note_request",
        session: this.name,
        username: "tester",
        date: "2026-01-01T00:00:00.000Z",
        version: "5.3",
      },
      parent_header: null,
      metadata: {},
      content: { note },
      buffers: [],
    };
    for (;;) {
      try {
        await this.#link.send(message);
      } catch {
        // it is sent again
      }
      const again = performance.now() + REPEAT_MS;
      while (performance.now() < again) {
        if (this.#answered.has(msg_id)) {
          this.#answered.clear();
          return;
        }
        signal.throwIfAborted();
        await later(5);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort();
    await this.#link.closed;
  }
}

/** The stock client, which resumes by itself. */
export const trpc: Way = {
  name: "tRPC",
  open({ url, session_id }, client, signal) {
    const socket = createWSClient({
      url: `${url.replace("http", "ws")}/trpc?token=${TOKEN}`,
      WebSocket: WebSocket as unknown as typeof globalThis.WebSocket,
      retryDelayMs: () => COME_BACK_MS,
      keepAlive: { enabled: true, intervalMs: 1_000, pongTimeoutMs: 1_000 },
    });
    const api = createTRPCClient<AppRouter>({
      links: [wsLink({ client: socket })],
    });
    const subscription = api.sessions.events.subscribe(
      { session_id },
      {
        onData: ({ data }) => client.receive(data as Received),
        onError: (error) =>
          client.complaints.push(`subscription: ${error.message}`),
      },
    );
    const closed = aborted(signal).then(() => {
      subscription.unsubscribe();
      return socket.close();
    });
    return {
      send: (message) =>
        api.sessions.send.mutate({ ...message, session_id } as never, {
          signal: AbortSignal.timeout(1_000),
        }),
      closed,
    };
  },
};

const sse: Way = {
  name: "server-sent events",
  open({ url, session_id }, client, signal) {
    return {
      send: (message) =>
        ask(
          { url },
          {
            method: "POST",
            path: `/sessions/${session_id}/messages`,
            body: message,
            headers: {
              authorization: `Bearer ${TOKEN}`,
              "content-type": "application/json",
            },
          },
        ),
      closed: again(signal, () => listen({ url, session_id }, client, signal)),
    };
  },
};

/** One connection, to its end. */
function listen(
  { url, session_id }: Target,
  client: StressClient,
  signal: AbortSignal,
): Promise<void> {
  return new Promise((resolve) => {
    const req = httpGet(
      `${url}/sessions/${session_id}/events`,
      {
        agent: false,
        signal,
        headers: {
          authorization: `Bearer ${TOKEN}`,
          "last-event-id": String(client.last),
        },
      },
      (res) => {
        const decoder = new TextDecoder("utf-8", { fatal: true });
        let pending = "";
        res.on("error", () => {});
        res.on("close", resolve);
        res.on("data", (bytes: Buffer) => {
          try {
            pending += decoder.decode(bytes, { stream: true });
            const blocks = pending.split("\n\n");
            pending = blocks.pop() ?? "";
            for (const block of blocks) {
              const data = block
                .split("\n")
                .filter((line) => line.startsWith("data: "));
              if (data.length === 0) continue;
              client.receive(
                JSON.parse(
                  data.map((line) => line.slice(6)).join("\n"),
                ) as Received,
              );
            }
          } catch {
            res.destroy(); // random bytes
          }
        });
      },
    );
    req.on("error", () => {});
    req.on("close", resolve);
  });
}

const kallichore: Way = {
  name: "the Kallichore channel",
  open({ url, session_id }, client, signal) {
    let socket: WebSocket | undefined;
    const closed = again(
      signal,
      () =>
        new Promise<void>((resolve) => {
          const ws = new WebSocket(
            `${url.replace("http", "ws")}/sessions/${session_id}/channels?events=all`,
            {
              headers: { authorization: `Bearer ${TOKEN}` },
            },
          );
          const end = () => ws.terminate();
          socket = ws;
          signal.addEventListener("abort", end);
          ws.on("error", () => {});
          ws.on("close", () => {
            signal.removeEventListener("abort", end);
            resolve();
          });
          ws.on("message", (data: Buffer) => {
            const frame = JSON.parse(data.toString()) as Received;
            if (typeof frame.seq === "number") client.receive(frame, true); // a final message has no number
          });
        }),
    );
    return {
      send: (message) => socket?.send(JSON.stringify(message)),
      closed,
    };
  },
};

const jupyter: Way = {
  name: "Jupyter's channel",
  open({ url, session_id }, client, signal) {
    const name = randomUUID();
    let kernel_id: string | undefined;
    let socket: WebSocket | undefined;
    let attached = () => {};
    const opened = new Promise<void>((resolve) => (attached = resolve));
    const attach = () =>
      new Promise<void>((resolve) => {
        const ws = new WebSocket(
          `${url.replace("http", "ws")}/api/kernels/${kernel_id}/channels?session_id=${name}`,
          { headers: { authorization: `Bearer ${TOKEN}` } },
        );
        const end = () => ws.terminate();
        socket = ws;
        signal.addEventListener("abort", end);
        ws.on("error", () => {});
        ws.on("open", attached);
        ws.on("close", () => {
          signal.removeEventListener("abort", end);
          resolve();
        });
        ws.on("message", (data: Buffer) => {
          client.receiveUnnumbered(JSON.parse(data.toString()) as Received);
        });
      });
    const closed = again(signal, async () => {
      kernel_id ??= await kernelOf({ url, session_id });
      if (kernel_id !== undefined) await attach();
    });
    return {
      // By its `session` the next server knows whose request it was.
      send: (message) =>
        socket?.send(
          JSON.stringify({
            ...message,
            header: { ...(message["header"] as object), session: name },
          }),
        ),
      closed,
      opened,
    };
  },
};

/** By which Jupyter's clients know the session's kernel; `undefined` if the server cannot be reached. */
async function kernelOf({
  url,
  session_id,
}: Target): Promise<string | undefined> {
  const headers = { authorization: `Bearer ${TOKEN}` };
  const path = `/sessions/${session_id}`;
  const answer = await ask({ url }, { method: "GET", path, headers }).catch(
    () => undefined,
  );
  return (answer?.body as { kernel_id?: string } | undefined)?.kernel_id;
}

/** The protocols whose clients have numbers. */
export const ways: readonly Way[] = [trpc, sse, kallichore];
export const allWays: readonly Way[] = [...ways, jupyter];

/** The number that the kernel has given to a message. */
function countIn(content: Readonly<Record<string, unknown>> | undefined) {
  const [, n] = /^(\d+):x*$/.exec(String(content?.["text"])) ?? [];
  return Number(n);
}

/** Opens it again whenever it ends. */
async function again(
  signal: AbortSignal,
  once: () => Promise<void>,
): Promise<void> {
  while (!signal.aborted) {
    await once();
    await later(COME_BACK_MS);
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) =>
    signal.addEventListener("abort", () => resolve()),
  );
}

function later(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
