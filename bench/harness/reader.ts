/**
 * A reader in its own process. It reads a session's events through one door, does
 * as little work as possible, and reports when a whole flood has arrived.
 *
 * `channel`, `v1`, `trpc` and `sse` only find and count frames; `v1` is Jupyter's
 * binary protocol for WebSockets. `stock` is tRPC's own client, and `client` is the
 * client of the checkout, as programs use them.
 */
import { randomUUID } from "node:crypto";
import { request } from "node:http";
import { connect as connectTo, type Socket } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type * as ours from "../../client/index.ts";
import type { AppRouter } from "../../contract/index.ts";
import { serveParent } from "./child.ts";

export type Door = "channel" | "v1" | "trpc" | "sse" | "stock" | "client";

export interface Attach {
  readonly door: Door;
  readonly url: string;
  readonly token: string;
  readonly session_id: string;
  /** The address of the session's channels. */
  readonly channel: string;
  /** The folder of the checkout whose client is used. */
  readonly folder: string | undefined;
  /** The position to begin after. `undefined`: the beginning. */
  readonly after: string | undefined;
}

/** The messages to wait for: `count` messages of at least `least` bytes each. */
export interface Flood {
  readonly count: number;
  readonly least: number;
}

/** A text to send several times. Each `NUMBER` in it is replaced by a new number. */
export interface Outgoing {
  readonly text: string;
  readonly times: number;
}

export type Order =
  /** With `expect`, resolves when these messages, which exist already, have arrived. */
  | {
      readonly attach: Attach;
      readonly readers?: number;
      readonly expect?: Flood;
    }
  | { readonly expect: Flood; readonly send?: readonly Outgoing[] }
  | { readonly detach: true };

/** The result of an order. */
export interface FloodResult {
  /** The time from the first message to the last, in ms. */
  readonly ms: number;
  readonly messages: number;
  readonly bytes: number;
}

/** Frames that arrive with those of a flood: busy, the input, the reply, idle. */
const OTHER_FRAMES = 4;

/** A reader that receives nothing for this time fails: its messages were lost. */
const TIMEOUT_MS = 60_000;

/** Counts messages, and resolves when the expected number has arrived. */
class Count {
  messages = 0;
  bytes = 0;
  #left = Infinity;
  #least = 0;
  #first = 0;
  #done: (result: FloodResult) => void = () => {};
  #failed: (why: Error) => void = () => {};
  #timeout: NodeJS.Timeout | undefined;

  add(size: number): void {
    this.messages += 1;
    this.bytes += size;
    if (size < this.#least) return;
    if (this.#first === 0) this.#first = performance.now();
    this.#left -= 1;
    if (this.#left > 0) return;
    this.#left = Infinity;
    clearInterval(this.#timeout);
    const ms = performance.now() - this.#first;
    this.#done({ ms, messages: this.messages, bytes: this.bytes });
  }

  expect({ count, least }: Flood): Promise<FloodResult> {
    this.messages = this.bytes = this.#first = 0;
    this.#least = least;
    const all = least > 0 ? count : count + OTHER_FRAMES;
    this.#left = all;
    return new Promise((resolve, reject) => {
      this.#done = resolve;
      this.#failed = reject;
      let before = -1;
      clearInterval(this.#timeout);
      this.#timeout = setInterval(() => {
        if (this.bytes !== before) {
          before = this.bytes;
          return;
        }
        this.fail(`nothing arrived for ${TIMEOUT_MS / 1000} s`);
      }, TIMEOUT_MS);
    });
  }

  /** The rest of the messages will not arrive. */
  fail(why: string): void {
    clearInterval(this.#timeout);
    this.#failed(new Error(`${this.#left} messages are missing: ${why}`));
  }
}

interface Attached {
  send?(outgoing: Outgoing): void;
  close(): Promise<void> | void;
}

let counts: Count[] = [];
let attached: Attached[] = [];

serveParent(import.meta.url, async (order: Order): Promise<unknown> => {
  if ("attach" in order) {
    const { readers = 1, attach } = order;
    counts = Array.from({ length: readers }, () => new Count());
    const open = doors[attach.door];
    const expected = counts.map((count) =>
      order.expect === undefined ? undefined : count.expect(order.expect),
    );
    attached = await Promise.all(counts.map((count) => open(attach, count)));
    return order.expect === undefined ? "attached" : expected[0];
  }
  if ("expect" in order) {
    const all = counts.map((count) => count.expect(order.expect));
    for (const outgoing of order.send ?? []) attached[0]?.send?.(outgoing);
    if (order.send === undefined) process.send?.("ready");
    const [result] = await Promise.all(all);
    return result;
  }
  for (const each of attached) await each.close();
  return { messages: counts[0]?.messages ?? 0 };
});

const doors: Record<Door, (to: Attach, count: Count) => Promise<Attached>> = {
  channel: ({ channel, token }, count) => rawSocket(channel, token, count),

  v1({ url, token, session_id }, count) {
    const channel = `${url.replace("http", "ws")}/api/kernels/${session_id}/channels?session_id=reader`;
    return rawSocket(channel, token, count, "v1.kernel.websocket.jupyter.org");
  },

  async trpc({ url, token, session_id, after }, count) {
    const socket = await rawSocket(
      `${url.replace("http", "ws")}/trpc`,
      token,
      count,
    );
    const input = { session_id, lastEventId: after };
    const params = { path: "sessions.events", input };
    const subscription = { id: 1, method: "subscription", params };
    socket.send({ text: JSON.stringify(subscription), times: 1 });
    return { close: () => socket.close() };
  },

  sse({ url, token, session_id, after }, count) {
    const headers = {
      authorization: `Bearer ${token}`,
      ...(after === undefined ? {} : { "last-event-id": after }),
    };
    const req = request(`${url}/sessions/${session_id}/events`, {
      headers,
      agent: false,
    });
    return new Promise((resolve, reject) => {
      req.on("error", reject);
      req.on("response", (res) => {
        countEvents(res, count);
        resolve({ close: () => void req.destroy() });
      });
      req.end();
    });
  },

  async stock({ url, token, session_id, after }, count) {
    const { createTRPCClient, createWSClient, wsLink } =
      await import("@trpc/client");
    const { WebSocket } = await import("ws");
    const socket = createWSClient({
      url: `${url.replace("http", "ws")}/trpc?token=${token}`,
      WebSocket: WebSocket as never,
    });
    const client = createTRPCClient<AppRouter>({
      links: [wsLink({ client: socket })],
    });
    const input = {
      session_id,
      ...(after === undefined ? {} : { lastEventId: after }),
    };
    await new Promise<void>((resolve, reject) => {
      client.sessions.events.subscribe(input, {
        onStarted: () => resolve(),
        onData: ({ data }) => count.add(sizeOf(data)),
        onError: reject,
      });
    });
    return { close: () => socket.close() };
  },

  async client({ url, token, session_id, after, folder = "" }, count) {
    const file = pathToFileURL(join(folder, "dist", "client.js")).href;
    const { connect } = (await import(file)) as typeof ours;
    const client = await connect({ url, token });
    const session = client.session(session_id);
    const from =
      after === undefined ? {} : { after: Number(after.split(":")[1]) };
    void (async () => {
      for await (const event of session.events(from)) count.add(sizeOf(event));
    })().catch(() => {}); // closed
    return { close: () => client[Symbol.asyncDispose]() };
  },
};

/** The size of an event of a real client, estimated from its long members: the number of received bytes is not known there. */
function sizeOf(event: object): number {
  const { content, buffers } = event as {
    content?: { text?: string; data?: Record<string, string> };
    buffers?: readonly { length: number }[];
  };
  const text = content?.text ?? content?.data?.["image/png"] ?? "";
  return text.length + (buffers?.[0]?.length ?? 0);
}

/** Counts server-sent events. Each ends with an empty line, and contains no other one. */
function countEvents(stream: NodeJS.ReadableStream, count: Count): void {
  let size = 0;
  let isAtEnd = false; // the last chunk ended with one line feed
  stream.on("error", () => {});
  stream.on("data", (chunk: Buffer) => {
    let at = 0;
    if (isAtEnd && chunk[0] === 10) {
      count.add(size + 1);
      size = 0;
      at = 1;
    }
    for (;;) {
      const end = chunk.indexOf("\n\n", at);
      if (end < 0) break;
      count.add(size + end + 2 - at);
      size = 0;
      at = end + 2;
    }
    size += chunk.length - at;
    isAtEnd = chunk.at(-1) === 10 && at < chunk.length;
  });
}

let numbered = 0;

/** A WebSocket that reads frames into one buffer, and examines only their headers. */
async function rawSocket(
  address: string,
  token: string,
  count: Count,
  protocol?: string,
): Promise<Required<Attached>> {
  const { hostname, port, pathname, search } = new URL(address);
  const head: number[] = []; // the header of the current frame
  let need = 2;
  let left = 0; // bytes of the payload
  let ping: number[] | undefined;
  let isOpen = false;
  let answer = "";
  let opened = () => {};
  let refused: (why: Error) => void = () => {};
  const open = new Promise<void>((resolve, reject) => {
    opened = resolve;
    refused = reject;
  });
  const take = (bytes: Uint8Array, length: number, from: number) => {
    let at = from;
    while (at < length) {
      if (left > 0) {
        const here = Math.min(left, length - at);
        if (ping !== undefined) ping.push(...bytes.subarray(at, at + here));
        at += here;
        left -= here;
        if (left === 0) ended();
        continue;
      }
      head.push(bytes[at] ?? 0);
      at += 1;
      if (head.length === 2) {
        const size = head[1] ?? 0;
        need = size === 126 ? 4 : size === 127 ? 10 : 2;
      }
      if (head.length < need) continue;
      left =
        need === 2
          ? (head[1] ?? 0)
          : head.slice(2).reduce((sum, byte) => sum * 256 + byte, 0);
      const opcode = (head[0] ?? 0) & 15;
      ping = opcode === 9 ? [] : undefined;
      if (opcode < 3) count.add(left);
      head.length = 0;
      need = 2;
      if (left === 0) ended();
    }
  };
  const ended = () => {
    if (ping !== undefined) socket.write(frame(0x8a, Buffer.from(ping)));
    ping = undefined;
  };
  const socket: Socket = connectTo({
    host: hostname,
    port: Number(port),
    onread: {
      buffer: Buffer.allocUnsafe(512 * 1024),
      callback(length, bytes) {
        if (isOpen) {
          take(bytes, length, 0);
          return true;
        }
        const before = answer.length;
        answer += Buffer.from(bytes.buffer, bytes.byteOffset, length).toString(
          "latin1",
        );
        const end = answer.indexOf("\r\n\r\n");
        if (end < 0) return true;
        if (!answer.startsWith("HTTP/1.1 101"))
          refused(new Error(answer.slice(0, 300)));
        isOpen = true;
        opened();
        take(bytes, length, end + 4 - before);
        return true;
      },
    },
  });
  socket.setNoDelay(true);
  socket.on("error", refused);
  socket.on("close", () => count.fail("the connection has closed"));
  const key = Buffer.from(randomUUID().slice(0, 16)).toString("base64");
  socket.write(
    [
      `GET ${pathname}${search} HTTP/1.1`,
      `Host: ${hostname}:${port}`,
      "Connection: Upgrade",
      "Upgrade: websocket",
      "Sec-WebSocket-Version: 13",
      `Sec-WebSocket-Key: ${key}`,
      `Authorization: Bearer ${token}`,
      ...(protocol === undefined
        ? []
        : [`Sec-WebSocket-Protocol: ${protocol}`]),
      "\r\n",
    ].join("\r\n"),
  );
  await open;
  return {
    send({ text, times }) {
      socket.cork();
      for (let n = 0; n < times; n += 1) {
        const one = text.replaceAll("NUMBER", String((numbered += 1)));
        socket.write(frame(0x81, Buffer.from(one)));
      }
      socket.uncork();
    },
    close() {
      socket.end(frame(0x88, Buffer.from([3, 0xe8]))); // 1000: every frame was read
    },
  };
}

/** A frame with a mask of zeros, which does not change the bytes. */
function frame(first: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
  head[0] = first;
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (head.length === 8) head.writeUInt16BE(length, 2);
  if (head.length === 14) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}
