/**
 * A kernel without its sockets: it receives requests and sends messages.
 *
 * It publishes `busy` before and `idle` after each request, with the request as
 * parent. Shell requests are answered one at a time, in order. Control requests
 * are answered at once, even while a shell request runs. A table of handlers
 * makes the answers.
 */
import { randomUUID } from "node:crypto";
import type { ReceivedMessage } from "../src/jupyter/frames.ts";
import {
  compose,
  contentOf,
  type Channel,
  type Message,
} from "../src/jupyter/message.ts";
import {
  Io,
  KernelError,
  type Content,
  type ExecuteRequest,
  type Extra,
} from "./io.ts";

export interface KernelDefinition {
  /** The content of `kernel_info_reply`; `status` is added. */
  readonly kernelInfo: KernelInfo;
  readonly handlers: Handlers;
  /** The protocol version in the headers; `message.ts` has the default. */
  readonly protocol_version?: string;
  /** Returns whether to accept a message; `false` drops it, as an unresponsive kernel does. */
  readonly accepts?: (message: ReceivedMessage) => boolean;
  /** Returns whether to publish a status message; `false` makes a kernel that never reports `idle`, for example. */
  readonly publishesStatus?: (
    state: "busy" | "idle",
    request: ReceivedMessage,
  ) => boolean;
  /** Answers a request completely, including `busy` and `idle`. Resolves with `false` to leave it to the handlers. */
  readonly answerAll?: (
    request: ReceivedMessage,
    io: Io,
    kernel: Kernel,
  ) => Promise<boolean>;
  /** Makes the id and the date of each message. Default: a random id and the current time. */
  readonly stamp?: () => { readonly msg_id: string; readonly date: string };
}

export interface KernelInfo {
  readonly protocol_version: string;
  readonly implementation: string;
  readonly implementation_version: string;
  readonly language_info: {
    readonly name: string;
    readonly version: string;
    readonly mimetype: string;
    readonly file_extension: string;
    readonly [extra: string]: unknown;
  };
  readonly banner: string;
  readonly help_links?: readonly {
    readonly text: string;
    readonly url: string;
  }[];
  readonly supported_features?: readonly string[];
}

/** A handler returns it to send no reply. */
export const NO_REPLY: unique symbol = Symbol("no reply");

/** The content of the reply; `status: "ok"` is added if it has no status. `undefined`: an empty content. */
export type ReplyContent = Content | typeof NO_REPLY | undefined;
type HandlerResult = ReplyContent | Promise<ReplyContent> | Promise<void>;
/** A handler throws a `KernelError` to reply with `status: "error"`. */
type Handler = (content: Content, io: Io) => HandlerResult;

/** The handlers by request type without `_request`. If a handler is missing, the reply is empty. */
export interface Handlers {
  readonly execute: (request: ExecuteRequest, io: Io) => HandlerResult;
  readonly kernel_info?: Handler;
  readonly complete?: Handler;
  readonly inspect?: Handler;
  readonly is_complete?: Handler;
  readonly history?: Handler;
  readonly comm_info?: Handler;
  /** `comm_open`, `comm_msg` and `comm_close`; these have no reply. */
  readonly comm?: Handler;
  /** Interrupts the running code; the `signal` of its io is aborted in any case. */
  readonly interrupt?: () => void | Promise<void>;
  /** Called before the reply; the process ends after it. */
  readonly shutdown?: (restart: boolean) => void | Promise<void>;
  /** Handles any other message. Default: no reply. */
  readonly other?: Handler;
}

export interface KernelPort {
  /** kernel → client. Keeps the order of the calls per channel. Never rejects. */
  readonly send: (
    message: Message,
    identities: readonly Uint8Array[],
  ) => Promise<void>;
  /** Called when a client has requested the shutdown and has received the reply. */
  readonly end: () => void;
}

/** The most shell requests that wait here. Further requests wait in the socket. */
const QUEUE_LIMIT = 1_000;

export class Kernel {
  readonly session: string;
  executionCount = 0;
  readonly #definition: KernelDefinition;
  readonly #port: KernelPort;
  readonly #shell: ReceivedMessage[] = [];
  #isWorking = false;
  #onRoom = () => {};
  #running: Io | undefined;

  constructor(
    definition: KernelDefinition,
    port: KernelPort,
    session: string = randomUUID(),
  ) {
    this.#definition = definition;
    this.#port = port;
    this.session = session;
  }

  /** client → kernel. Resolves when the next message of the channel may be passed. */
  async receive(message: ReceivedMessage): Promise<void> {
    if (this.#definition.accepts?.(message) === false) return;
    if (message.channel === "stdin") {
      this.#running?.answer(message);
      return;
    }
    if (message.channel === "control") {
      void this.#process(message); // it never rejects; control requests do not wait
      return;
    }
    this.#shell.push(message);
    if (!this.#isWorking) void this.#work();
    while (this.#shell.length >= QUEUE_LIMIT) {
      await new Promise<void>((resolve) => (this.#onRoom = resolve));
    }
  }

  /** Interrupts the running request, as SIGINT does; queued requests stay. */
  async interrupt(): Promise<void> {
    this.#running?.interrupt();
    await this.#definition.handlers.interrupt?.();
  }

  /** Publishes a message on iopub. Default: without a parent. */
  publish(
    msg_type: string,
    content: unknown,
    extra: Extra & {
      readonly parent?: Message;
      readonly topic?: Uint8Array;
    } = {},
  ): Promise<void> {
    const { topic = Buffer.from(msg_type), ...rest } = extra;
    return this.#port.send(this.#compose("iopub", msg_type, content, rest), [
      topic,
    ]);
  }

  async #work(): Promise<void> {
    this.#isWorking = true;
    for (;;) {
      const request = this.#shell.shift();
      this.#onRoom();
      if (request === undefined) break;
      await this.#process(request);
    }
    this.#isWorking = false;
  }

  /** Publishes `busy`, answers the request, publishes `idle`. Never rejects: an error of a handler becomes the reply. */
  async #process(request: ReceivedMessage): Promise<void> {
    const { publishesStatus = () => true, answerAll } = this.#definition;
    const io = this.#ioOf(request);
    if (request.channel === "shell") this.#running = io;
    if ((await answerAll?.(request, io, this)) === true) {
      if (this.#running === io) this.#running = undefined;
      io.end();
      return;
    }
    if (publishesStatus("busy", request)) await this.#status("busy", request);
    let dropped: readonly ReceivedMessage[] = [];
    try {
      const content = toContent(contentOf(request));
      const answer = await this.#answer(request, content, io);
      if (answer !== NO_REPLY)
        await io.reply({ status: "ok", ...toContent(answer) });
    } catch (error) {
      if (io.stopsOnError) dropped = this.#takeExecutions(); // before a client learns of the error
      await this.#fail(request, io, toKernelError(error, io.signal));
    } finally {
      if (this.#running === io) this.#running = undefined;
      io.end();
      if (publishesStatus("idle", request)) await this.#status("idle", request);
    }
    for (const execution of dropped) await this.#abort(execution);
    if (io.endsKernel) this.#port.end();
  }

  async #fail(
    request: ReceivedMessage,
    io: Io,
    error: KernelError,
  ): Promise<void> {
    const { ename, evalue, traceback } = error;
    const failed = { ename, evalue, traceback };
    if (!isExecution(request)) {
      await io.reply({ status: "error", ...failed });
      return;
    }
    if (!io.silent) await io.publish("error", failed);
    const { execution_count } = io;
    await io.reply({ status: "error", execution_count, ...failed });
  }

  #answer(request: ReceivedMessage, content: Content, io: Io): HandlerResult {
    const { handlers, kernelInfo } = this.#definition;
    const { msg_type } = request.header;
    switch (msg_type) {
      case "execute_request":
        return this.#execute(content, io);
      case "kernel_info_request":
        return handlers.kernel_info?.(content, io) ?? { ...kernelInfo };
      case "complete_request":
        return handlers.complete?.(content, io) ?? nothingToComplete(content);
      case "inspect_request":
        return (
          handlers.inspect?.(content, io) ?? {
            found: false,
            data: {},
            metadata: {},
          }
        );
      case "is_complete_request":
        return handlers.is_complete?.(content, io) ?? { status: "unknown" };
      case "history_request":
        return handlers.history?.(content, io) ?? { history: [] };
      case "comm_info_request":
        return handlers.comm_info?.(content, io) ?? { comms: {} };
      case "comm_open":
      case "comm_msg":
      case "comm_close":
        return this.#comm(content, io);
      case "interrupt_request":
        return this.interrupt();
      case "shutdown_request":
        return this.#shutDown(content["restart"] === true, io);
      default:
        return handlers.other?.(content, io) ?? NO_REPLY;
    }
  }

  async #comm(content: Content, io: Io): Promise<ReplyContent> {
    await this.#definition.handlers.comm?.(content, io);
    return NO_REPLY;
  }

  async #execute(content: Content, io: Io): Promise<ReplyContent> {
    const request = io.begin(content);
    if (request.store_history) this.executionCount += 1;
    const execution_count = this.executionCount;
    io.execution_count = execution_count;
    if (!request.silent) {
      await io.publish("execute_input", {
        code: request.code,
        execution_count,
      });
    }
    const answer = await this.#definition.handlers.execute(request, io);
    if (answer === NO_REPLY) return NO_REPLY;
    return {
      execution_count,
      user_expressions: {},
      payload: [],
      ...toContent(answer),
    };
  }

  async #shutDown(restart: boolean, io: Io): Promise<ReplyContent> {
    await this.#definition.handlers.shutdown?.(restart);
    io.endKernel();
    return { restart };
  }

  /** Takes the queued executions, which must not run because an execution with `stop_on_error` failed. */
  #takeExecutions(): readonly ReceivedMessage[] {
    const queued = this.#shell.splice(0);
    this.#shell.push(...queued.filter((request) => !isExecution(request)));
    return queued.filter(isExecution);
  }

  async #abort(request: ReceivedMessage): Promise<void> {
    await this.#status("busy", request);
    await this.#ioOf(request).reply({
      status: "aborted",
      execution_count: this.executionCount,
    });
    await this.#status("idle", request);
  }

  #status(execution_state: string, parent: Message): Promise<void> {
    return this.publish("status", { execution_state }, { parent });
  }

  #ioOf(request: ReceivedMessage): Io {
    return new Io(request, (channel, msg_type, content, extra = {}) => {
      const draft = { parent: request, ...extra };
      return channel === "iopub"
        ? this.publish(msg_type, content, draft)
        : this.#port.send(
            this.#compose(channel, msg_type, content, draft),
            request.identities,
          );
    });
  }

  #compose(
    channel: Channel,
    msg_type: string,
    content: unknown,
    extra: Extra & { readonly parent?: Message },
  ): Message {
    const { protocol_version } = this.#definition;
    return compose({
      channel,
      msg_type,
      content,
      session: this.session,
      username: "kernel",
      ...this.#definition.stamp?.(),
      ...(protocol_version === undefined ? {} : { version: protocol_version }),
      ...extra,
    });
  }
}

function isExecution({ header }: Message): boolean {
  return header.msg_type === "execute_request";
}

function toContent(value: unknown): Content {
  return typeof value === "object" && value !== null ? (value as Content) : {};
}

function nothingToComplete({ cursor_pos = 0 }: Content): Content {
  return {
    matches: [],
    cursor_start: cursor_pos,
    cursor_end: cursor_pos,
    metadata: {},
  };
}

/** The error of the reply. If the handler was interrupted, it is the interrupt, whatever error the handler threw. */
function toKernelError(error: unknown, signal: AbortSignal): KernelError {
  if (error instanceof KernelError) return error;
  if (signal.aborted && signal.reason instanceof KernelError)
    return signal.reason;
  if (!(error instanceof Error)) return new KernelError("Error", String(error));
  return new KernelError(
    error.name,
    error.message,
    error.stack?.split("\n") ?? [],
  );
}
