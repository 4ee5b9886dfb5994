/**
 * A reader in a process of its own. It takes what a session says by one door,
 * looks at as little as it can, and tells when it has heard all of a flood.
 *
 * `channel`, `v1`, `trpc` and `sse` are raw: they find frames and count them.
 * `v1` is Jupyter's binary protocol for WebSockets.
 * `stock` is tRPC's own client and `client` that of the checkout, as programs use them.
 */
import { randomUUID } from "node:crypto";
import { request } from "node:http";
import { connect as connectTo, type Socket } from "node:net";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type * as ours from "../../client/index.ts";
import type { AppRouter } from "../../contract/index.ts";
import { obey } from "./child.ts";

export type Door = "channel" | "v1" | "trpc" | "sse" | "stock" | "client";

export interface Attach {
  readonly door: Door;
  readonly url: string;
  readonly token: string;
  readonly session_id: string;
  /** Of the session's channels. */
  readonly channel: string;
  /** Of the checkout whose client is used. */
  readonly folder: string | undefined;
  /** A position to begin after; the beginning where absent. */
  readonly after: string | undefined;
}

/** What is waited for: so many messages, of at least so many bytes each. */
export interface Flood {
  readonly count: number;
  readonly least: number;
}

/** The text, so many times, with a number of its own in the place of each `NUMBER`. */
export interface Said {
  readonly text: string;
  readonly times: number;
}

export type Order =
  /** With `expect`, what is there already is waited for. */
  | {
      readonly attach: Attach;
      readonly readers?: number;
      readonly expect?: Flood;
    }
  | { readonly expect: Flood; readonly send?: readonly Said[] }
  | { readonly detach: true };

/** What came of an order. */
export interface Heard {
  /** Between the first message and the last, in ms. */
  readonly ms: number;
  readonly messages: number;
  readonly bytes: number;
}

/** So many frames come beside those of a flood: busy, the input, the reply, idle. */
const BESIDE = 4;

/** A reader that receives nothing for so long fails: its messages were lost. */
const SILENCE_MS = 60_000;

/** Counts, and resolves when enough is there. */
class Count {
  messages = 0;
  bytes = 0;
  #left = Infinity;
  #least = 0;
  #first = 0;
  #done: (heard: Heard) => void = () => {};
  #silence: NodeJS.Timeout | undefined;

  add(size: number): void {
    this.messages += 1;
    this.bytes += size;
    if (size < this.#least) return;
    if (this.#first === 0) this.#first = performance.now();
    this.#left -= 1;
    if (this.#left > 0) return;
    this.#left = Infinity;
    clearInterval(this.#silence);
    const ms = performance.now() - this.#first;
    this.#done({ ms, messages: this.messages, bytes: this.bytes });
  }

  expect({ count, least }: Flood): Promise<Heard> {
    this.messages = this.bytes = this.#first = 0;
    this.#least = least;
    const all = least > 0 ? count : count + BESIDE;
    this.#left = all;
    return new Promise((resolve, reject) => {
      this.#done = resolve;
      let before = -1;
      clearInterval(this.#silence);
      this.#silence = setInterval(() => {
        if (this.bytes !== before) {
          before = this.bytes;
          return;
        }
        clearInterval(this.#silence);
        const missing = `${this.#left} of ${all} messages are missing`;
        const silent = `nothing came for ${SILENCE_MS / 1000} s`;
        reject(new Error(`${missing}, and ${silent}`));
      }, SILENCE_MS);
    });
  }
}

interface Attached {
  send?(said: Said): void;
  close(): Promise<void> | void;
}

let counts: Count[] = [];
let attached: Attached[] = [];

obey(import.meta.url, async (order: Order): Promise<unknown> => {
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
    for (const said of order.send ?? []) attached[0]?.send?.(said);
    if (order.send === undefined) process.send?.("ready");
    const [heard] = await Promise.all(all);
    return heard;
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

/** For the real clients, whose events have no length any more: that of what is long in them. */
function sizeOf(event: object): number {
  const { content, buffers } = event as {
    content?: { text?: string; data?: Record<string, string> };
    buffers?: readonly { length: number }[];
  };
  const text = content?.text ?? content?.data?.["image/png"] ?? "";
  return text.length + (buffers?.[0]?.length ?? 0);
}

/** Events end with an empty line, which nothing else in them has. */
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

/** A WebSocket that reads frames into one buffer, and looks at their headers alone. */
async function rawSocket(
  address: string,
  token: string,
  count: Count,
  protocol?: string,
): Promise<Required<Attached>> {
  const { hostname, port, pathname, search } = new URL(address);
  const head: number[] = []; // the beginning of a frame
  let need = 2;
  let left = 0; // of the payload
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
      socket.end(frame(0x88, Buffer.from([3, 0xe8]))); // 1000: all that came has been read
    },
  };
}

/** Masked with zeros: the bytes stay as they are. */
function frame(first: number, payload: Buffer): Buffer {
  const { length } = payload;
  const head = Buffer.alloc(length < 126 ? 6 : length < 65_536 ? 8 : 14);
  head[0] = first;
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127);
  if (head.length === 8) head.writeUInt16BE(length, 2);
  if (head.length === 14) head.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([head, payload]);
}
