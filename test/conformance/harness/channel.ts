/**
 * A channel client with a transcript: everything received, in order, as text
 * and parsed. A wait searches the transcript first, so that early events are
 * found, and every wait has a timeout.
 */
import { randomUUID } from "node:crypto";

import { WebSocket } from "ws";

import { at, keys, refute, shown, text } from "./check.ts";
import { parsed, settled } from "./request.ts";

export interface Frame {
  readonly index: number;
  readonly text: string;
  readonly body: unknown;
}

export interface Message {
  readonly msg_type: string;
  readonly content: unknown;
  readonly channel?: string;
  readonly msg_id?: string;
  readonly header?: Readonly<Record<string, unknown>>;
  readonly parent_header?: unknown;
  readonly metadata?: unknown;
  readonly buffers?: readonly string[];
}

export interface Executed {
  readonly msg_id: string;
  readonly reply: unknown;
  /** All frames that the execution caused, in order. */
  readonly frames: readonly Frame[];
}

export interface Wait {
  readonly from?: number;
  readonly within_ms?: number;
}

interface Waiter {
  readonly from: number;
  readonly matches: (frame: Frame) => boolean;
  readonly found: (frame: Frame) => void;
  readonly closed: () => void;
}

/** The answer to an upgrade: a channel for 101, otherwise the status. */
export interface Knock {
  readonly status: number;
  readonly channel: Channel | undefined;
}

const WAIT_MS = 10_000;
const OPEN_MS = 5_000;
const CHANNEL_SESSION = randomUUID();

export class Channel {
  readonly frames: Frame[] = [];
  readonly pings: Buffer[] = [];
  readonly closed: Promise<number>;
  #closeCode: number | undefined;
  readonly #socket: WebSocket;
  readonly #waiters = new Set<Waiter>();

  constructor(socket: WebSocket) {
    this.#socket = socket;
    const { promise, resolve } = settled<number>();
    this.closed = promise;
    socket.on("ping", (payload) => this.pings.push(payload));
    socket.on("message", (data: Buffer) => {
      this.#receive(data.toString());
    });
    socket.on("close", (code) => {
      this.#closeCode = code;
      resolve(code);
      for (const waiter of this.#waiters) waiter.closed();
    });
  }

  isOpen(): boolean {
    return this.#closeCode === undefined;
  }

  /** Sends a Jupyter message as the known front end does: with a complete header, without `kind`. */
  send(message: Message): string {
    const msg_id = message.msg_id ?? randomUUID();
    const { msg_type, channel = "shell", content } = message;
    const { parent_header = null, metadata = {}, buffers = [] } = message;
    const header = {
      msg_id,
      session: CHANNEL_SESSION,
      username: "conformance",
      date: new Date().toISOString(),
      msg_type,
      version: "5.3",
      ...message.header,
    };
    this.sendText(
      JSON.stringify({
        header,
        parent_header,
        metadata,
        content,
        channel,
        buffers,
      }),
    );
    return msg_id;
  }

  sendText(frame: string): void {
    this.#socket.send(frame);
  }

  sendBinary(frame: Buffer): void {
    this.#socket.send(frame, { binary: true });
  }

  execute(code: string, extra: Partial<Message> = {}): string {
    const content = executeContent(code);
    return this.send({ msg_type: "execute_request", content, ...extra });
  }

  /** Executes, and waits for its reply and its idle. */
  async run(code: string, wait: Wait = {}): Promise<Executed> {
    const from = this.frames.length;
    const msg_id = this.execute(code);
    const reply = await this.reply(msg_id, wait);
    await this.idle(msg_id, { from, ...wait });
    const frames = this.frames
      .slice(from)
      .filter((frame) => parentId(frame) === msg_id);
    return { msg_id, reply, frames };
  }

  /** Executes one command whose result is JSON. */
  async result(code: string, wait: Wait = {}): Promise<unknown> {
    const { reply, frames } = await this.run(code, wait);
    const found = frames.find((frame) => msgType(frame) === "execute_result");
    if (found === undefined) refute(`${code}: no result, but ${shown(reply)}`);
    return parsed(text(at(found.body, "content", "data", "text/plain")));
  }

  async reply(msg_id: string, wait: Wait = {}): Promise<unknown> {
    const frame = await this.waitFor(
      `the reply to ${msg_id}`,
      (received) =>
        parentId(received) === msg_id && msgType(received).endsWith("_reply"),
      wait,
    );
    return at(frame.body, "content");
  }

  idle(msg_id: string, wait: Wait = {}): Promise<Frame> {
    return this.waitFor(
      `the idle of ${msg_id}`,
      (received) =>
        parentId(received) === msg_id && executionState(received) === "idle",
      wait,
    );
  }

  busy(msg_id: string, wait: Wait = {}): Promise<Frame> {
    return this.waitFor(
      `the busy of ${msg_id}`,
      (received) =>
        parentId(received) === msg_id && executionState(received) === "busy",
      wait,
    );
  }

  /** A kernel message with this name and this content. */
  event(name: string, carries?: unknown, wait: Wait = {}): Promise<Frame> {
    const what = `kernel message ${name} ${carries === undefined ? "" : shown(carries)}`;
    return this.waitFor(
      what,
      (received) => {
        if (eventName(received) !== name) return false;
        const payload = at(received.body, name);
        const carried = name === "status" ? at(payload, "status") : payload;
        return carries === undefined || carried === carries;
      },
      wait,
    );
  }

  waitFor(
    what: string,
    matches: (frame: Frame) => boolean,
    wait: Wait = {},
  ): Promise<Frame> {
    const { from = 0, within_ms = WAIT_MS } = wait;
    const early = this.frames.find(
      (frame) => frame.index >= from && matches(frame),
    );
    if (early !== undefined) return Promise.resolve(early);
    const { promise, resolve, reject } = settled<Frame>();
    const refuteAs = (why: string) => {
      try {
        refute(`${what}: ${why}; last heard ${this.#last()}`);
      } catch (error) {
        reject(error as Error);
      }
    };
    const closed = () => {
      refuteAs(`the channel closed first (${String(this.#closeCode)})`);
    };
    const timer = setTimeout(() => {
      refuteAs(`not within ${within_ms} ms`);
    }, within_ms);
    const waiter = { from, matches, found: resolve, closed };
    this.#waiters.add(waiter);
    if (!this.isOpen()) closed();
    return promise.finally(() => {
      clearTimeout(timer);
      this.#waiters.delete(waiter);
    });
  }

  /** Closes the channel, and waits for the end of the connection. */
  async close(): Promise<number> {
    this.#socket.close();
    const timer = setTimeout(() => {
      this.#socket.terminate();
    }, 2_000);
    return this.closed.finally(() => {
      clearTimeout(timer);
    });
  }

  terminate(): void {
    this.#socket.terminate();
  }

  #receive(received: string): void {
    const frame = {
      index: this.frames.length,
      text: received,
      body: parsed(received),
    };
    this.frames.push(frame);
    for (const waiter of this.#waiters)
      if (frame.index >= waiter.from && waiter.matches(frame))
        waiter.found(frame);
  }

  #last(): string {
    const received = this.frames.slice(-4).map((frame) => brief(frame));
    return received.length === 0 ? "nothing" : received.join(" | ");
  }
}

/** Tries to open a channel at a WebSocket address. */
export function knock(
  url: string,
  headers: Readonly<Record<string, string>>,
  options: { readonly autoPong?: boolean } = {},
): Promise<Knock> {
  const { promise, resolve, reject } = settled<Knock>();
  const socket = new WebSocket(url, {
    headers,
    handshakeTimeout: OPEN_MS,
    ...options,
  });
  const channel = new Channel(socket);
  socket.on("open", () => {
    resolve({ status: 101, channel });
  });
  socket.on("unexpected-response", (request, response) => {
    request.destroy();
    resolve({ status: response.statusCode ?? 0, channel: undefined });
  });
  socket.on("error", reject);
  return promise;
}

export function executeContent(code: string): Record<string, unknown> {
  return {
    code,
    silent: false,
    store_history: true,
    user_expressions: {},
    allow_stdin: true,
    stop_on_error: true,
  };
}

export function msgType(frame: Frame): string {
  return text(at(frame.body, "header", "msg_type"));
}

export function parentId(frame: Frame): string {
  return text(at(frame.body, "parent_header", "msg_id"));
}

export function executionState(frame: Frame): string {
  return msgType(frame) === "status"
    ? text(at(frame.body, "content", "execution_state"))
    : "";
}

/** The name of a kernel message; empty for a Jupyter message. */
export function eventName(frame: Frame): string {
  if (at(frame.body, "kind") !== "kernel") return "";
  return keys(frame.body).find((key) => key !== "kind") ?? "";
}

/** The kernel's events, in order: `status:…` and `exited:…`. */
export function life(frames: readonly Frame[]): readonly string[] {
  return frames.flatMap((frame) => {
    const name = eventName(frame);
    if (name === "status")
      return `status:${text(at(frame.body, name, "status"))}`;
    return name === "exited" ? `exited:${shown(at(frame.body, name))}` : [];
  });
}

/** The text of a stream, in order. */
export function streamed(frames: readonly Frame[]): string {
  return frames
    .filter((frame) => msgType(frame) === "stream")
    .map((frame) => text(at(frame.body, "content", "text")))
    .join("");
}

function brief(frame: Frame): string {
  const name = eventName(frame);
  if (name !== "") return `${name} ${shown(at(frame.body, name))}`;
  return `${msgType(frame)}${executionState(frame) && `:${executionState(frame)}`}`;
}
