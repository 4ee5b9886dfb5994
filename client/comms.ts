/**
 * Comms: separate channels between an object in the kernel and an object here,
 * such as a widget and its view. The kernel's messages on a comm are kept until
 * the program reads them, up to a limit.
 */
import { SupervisorError } from "../contract/reasons.ts";
import { toBase64 } from "./base64.ts";
import { isMessage, type MessageOf, type SessionEvent } from "./events.ts";
import { failure } from "./failure.ts";
import type { Feed } from "./feed.ts";
import type { CallOptions, ServerLink } from "./server-link.ts";
import { Queue } from "./queue.ts";
import { request, type RequestOptions } from "./requests.ts";
import { uuid } from "./uuid.ts";
import { unlessAborted } from "./wait.ts";

export type CommMessage = MessageOf<"comm_msg" | "comm_close">;

export interface CommOptions extends CallOptions {
  readonly buffers?: readonly Uint8Array[] | undefined;
  readonly metadata?: Record<string, unknown> | undefined;
}

/** The comms of one session. */
export class Comms {
  readonly #link: ServerLink;
  readonly #feed: Feed;

  constructor(link: ServerLink, feed: Feed) {
    this.#link = link;
    this.#feed = feed;
  }

  /** Opens a comm. A kernel that does not know `target_name` answers with `comm_close`. */
  async open(
    target_name: string,
    data: unknown = {},
    options: CommOptions = {},
  ): Promise<Comm> {
    const comm = await this.attach(uuid(), target_name, options);
    try {
      await comm.post("comm_open", { target_name, data }, options);
    } catch (error) {
      comm.leave(); // it may be open in the kernel, but the caller gets no comm
      throw error;
    }
    return comm;
  }

  /** Attaches to an open comm, such as another client's. */
  async attach(
    comm_id: string,
    target_name = "",
    { signal }: CallOptions = {},
  ): Promise<Comm> {
    signal?.throwIfAborted();
    await unlessAborted(this.#feed.open(), signal);
    return new Comm(this.#link, this.#feed, { comm_id, target_name });
  }

  /** The open comms that the kernel lists: `comm_id` to target. */
  async list(
    target_name?: string,
    options?: RequestOptions,
  ): Promise<Readonly<Record<string, { readonly target_name: string }>>> {
    const content = target_name === undefined ? {} : { target_name };
    const outgoing = { msg_type: "comm_info_request", content } as const;
    const { content: reply } = await request(
      this.#link,
      this.#feed,
      outgoing,
      options,
    );
    return reply.comms;
  }

  /** Each comm that the kernel opens from now on. Ends when the client detaches from the session. */
  async *opened({ signal }: CallOptions = {}): AsyncGenerator<
    { readonly comm: Comm; readonly message: MessageOf<"comm_open"> },
    void
  > {
    signal?.throwIfAborted();
    await unlessAborted(this.#feed.open(), signal);
    const queue = new Queue<{ comm: Comm; message: MessageOf<"comm_open"> }>(
      LIMIT,
    );
    const leave = this.#feed.listen({
      onEvent: (event) => {
        if (event.kind !== "jupyter" || event.msg_type !== "comm_open") return;
        // The comm listens from here on, so that it misses no message.
        const comm = new Comm(this.#link, this.#feed, event.content);
        if (!queue.push({ comm, message: event })) queue.end(tooBusy());
      },
      ended: (error) => queue.end(error),
    });
    try {
      yield* queue.take(signal);
    } finally {
      leave();
    }
  }
}

/** An open comm: `send` sends a message, `for await` reads the kernel's messages, once. */
export class Comm implements AsyncIterable<CommMessage>, AsyncDisposable {
  readonly comm_id: string;
  readonly target_name: string;
  readonly #link: ServerLink;
  readonly #feed: Feed;
  readonly #queue = new Queue<CommMessage>(LIMIT);
  readonly #leave: () => void;
  #isOpen = true;

  constructor(
    link: ServerLink,
    feed: Feed,
    { comm_id, target_name }: { comm_id: string; target_name: string },
  ) {
    this.#link = link;
    this.#feed = feed;
    this.comm_id = comm_id;
    this.target_name = target_name;
    this.#leave = feed.listen({
      onEvent: (event) => this.#onEvent(event),
      ended: (error) => this.#queue.end(error),
    });
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Resolves when the server has the message. */
  async send(data: unknown, options?: CommOptions): Promise<void> {
    this.#assertOpen();
    await this.post("comm_msg", { data }, options);
  }

  async close(data: unknown = {}, options?: CommOptions): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#leave();
    this.#queue.end();
    await this.post("comm_close", { data }, options);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The kernel's messages; a `comm_close` is the last. */
  [Symbol.asyncIterator](): AsyncGenerator<CommMessage, void> {
    return this.messages();
  }

  /** The same; throws the signal's reason when `signal` aborts. */
  messages({ signal }: CallOptions = {}): AsyncGenerator<CommMessage, void> {
    return this.#queue.take(signal);
  }

  /** Stops listening without a message to the kernel. @internal */
  leave(): void {
    this.#over();
  }

  /** @internal */
  async post(
    msg_type: "comm_open" | "comm_msg" | "comm_close",
    content: Readonly<Record<string, unknown>>,
    { buffers = [], metadata, signal }: CommOptions = {},
  ): Promise<void> {
    const message = () => ({
      session_id: this.#feed.session_id,
      ...this.#feed.target,
      channel: "shell" as const,
      header: { msg_id: uuid(), msg_type },
      content: { comm_id: this.comm_id, ...content },
      ...(metadata !== undefined && { metadata }),
      buffers: buffers.map(toBase64),
    });
    const call = signal === undefined ? {} : { signal };
    await this.#feed.inOrder(() => this.#link.send(message(), call));
  }

  #onEvent(event: SessionEvent): void {
    if (event.kind === "exited") {
      const { signal, exit_code } = event;
      const why = signal ?? `exit code ${exit_code}`;
      const { session_id } = this.#feed;
      this.#over(failure("kernel_exited", { session_id, why }));
      return;
    }
    if (event.kind === "journal") {
      const { session_id } = this.#feed;
      const why = `comm ${this.comm_id} belonged to the earlier session`;
      this.#over(failure("session_replaced", { session_id, why }));
      return;
    }
    if (!isMessage(event) || event.kind === "other") return;
    const { msg_type } = event;
    if (msg_type !== "comm_msg" && msg_type !== "comm_close") return;
    if (event.content.comm_id !== this.comm_id) return;
    if (!this.#queue.push(event)) this.#queue.end(tooBusy());
    if (msg_type === "comm_close") this.#over();
  }

  #over(error?: Error): void {
    this.#isOpen = false;
    this.#leave();
    this.#queue.end(error);
  }

  #assertOpen(): void {
    if (!this.#isOpen) throw new Error(`Comm ${this.comm_id} is closed`);
  }
}

/** Messages that may wait for the program. */
const LIMIT = 10_000;

/** The error of a program that reads too slowly. It is thrown after the messages that were kept. */
function tooBusy(): Error {
  const why = `${LIMIT} messages were not read: read faster, or detach`;
  return new SupervisorError("too_busy", why);
}
