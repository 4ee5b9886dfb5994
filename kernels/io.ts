/**
 * The output of a kernel for one request, and its input requests to the client.
 *
 * Every message that is sent here has the request as its parent, also after the
 * reply: a thread that still runs can print then.
 */
import type { ReceivedMessage } from "../src/jupyter/frames.ts";
import { contentOf, type Channel } from "../src/jupyter/message.ts";

/** The content of a message, with the protocol's field names. */
export type Content = Readonly<Record<string, unknown>>;
export type MimeBundle = Readonly<Record<string, unknown>>;

export interface Extra {
  readonly metadata?: unknown;
  readonly buffers?: readonly Uint8Array[];
  /** The version in the header. Default: the kernel's own. */
  readonly version?: string;
}

/** The content of an `execute_request` with all defaults filled in. */
export interface ExecuteRequest {
  readonly code: string;
  readonly silent: boolean;
  readonly store_history: boolean;
  readonly user_expressions: Readonly<Record<string, unknown>>;
  readonly allow_stdin: boolean;
  readonly stop_on_error: boolean;
}

/** A handler throws it to reply with `status: "error"`. For an execution, an `error` message is published too. */
export class KernelError extends Error {
  override readonly name = "KernelError";
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];

  constructor(ename: string, evalue: string, traceback?: readonly string[]) {
    super(`${ename}: ${evalue}`);
    this.ename = ename;
    this.evalue = evalue;
    this.traceback = traceback ?? [`${ename}: ${evalue}`];
  }
}

type Send = (
  channel: Channel,
  msg_type: string,
  content: unknown,
  extra?: Extra,
) => Promise<void>;

export class Io {
  readonly request: ReceivedMessage;
  /** The number of this execution. */
  execution_count = 0;
  silent = false;
  stopsOnError = false;
  endsKernel = false;
  readonly #send: Send;
  readonly #interrupted = new AbortController();
  #allowStdin = false;
  #onAnswer: ((value: string) => void) | undefined;

  constructor(request: ReceivedMessage, send: Send) {
    this.request = request;
    this.#send = send;
  }

  /** Aborted by an interrupt, with a `KernelError` named KeyboardInterrupt. */
  get signal(): AbortSignal {
    return this.#interrupted.signal;
  }

  /** Reads an `execute_request` and remembers its options. */
  begin(content: Content): ExecuteRequest {
    const silent = content["silent"] === true;
    const request = {
      code: typeof content["code"] === "string" ? content["code"] : "",
      silent,
      store_history: !silent && content["store_history"] !== false,
      user_expressions: (content["user_expressions"] ?? {}) as Content,
      allow_stdin: content["allow_stdin"] === true,
      stop_on_error: content["stop_on_error"] !== false,
    };
    this.silent = silent;
    this.stopsOnError = request.stop_on_error;
    this.#allowStdin = request.allow_stdin;
    return request;
  }

  stream(name: "stdout" | "stderr", text: string): Promise<void> {
    return this.publish("stream", { name, text });
  }

  display(
    data: MimeBundle,
    {
      display_id,
      metadata = {},
      buffers,
    }: {
      readonly display_id?: string;
      readonly metadata?: unknown;
      readonly buffers?: readonly Uint8Array[];
    } = {},
  ): Promise<void> {
    const transient = display_id === undefined ? {} : { display_id };
    return this.publish(
      "display_data",
      { data, metadata, transient },
      buffers === undefined ? {} : { buffers },
    );
  }

  /** Changes every display with this id, whichever request made it. */
  update(
    display_id: string,
    data: MimeBundle,
    metadata: unknown = {},
  ): Promise<void> {
    return this.publish("update_display_data", {
      data,
      metadata,
      transient: { display_id },
    });
  }

  result(data: MimeBundle, metadata: unknown = {}): Promise<void> {
    return this.publish("execute_result", {
      data,
      metadata,
      execution_count: this.execution_count,
    });
  }

  clear(wait = false): Promise<void> {
    return this.publish("clear_output", { wait });
  }

  comm(
    msg_type: "comm_open" | "comm_msg" | "comm_close",
    content: Content,
    buffers: readonly Uint8Array[] = [],
  ): Promise<void> {
    return this.publish(msg_type, content, { buffers });
  }

  /** Publishes any message on iopub. */
  publish(msg_type: string, content: unknown, extra?: Extra): Promise<void> {
    return this.#send("iopub", msg_type, content, extra);
  }

  /** Sends a reply to the client, on the channel of its request. It may be called late and more than once. */
  reply(content: unknown, extra?: Extra): Promise<void> {
    const msg_type = this.request.header.msg_type.replace(
      /_request$/,
      "_reply",
    );
    return this.#send(this.request.channel, msg_type, content, extra);
  }

  /**
   * Sends an input request to the client that sent this request, and waits for
   * the answer or an interrupt. Throws if the client does not allow input
   * requests.
   */
  async input(prompt = "", password = false, extra?: Extra): Promise<string> {
    if (!this.#allowStdin) {
      throw new KernelError(
        "StdinNotImplementedError",
        "The client does not allow input requests",
      );
    }
    this.signal.throwIfAborted();
    const { promise, resolve, reject } = pending();
    this.#onAnswer = resolve;
    const interrupted = () => {
      reject(this.signal.reason as KernelError);
    };
    this.signal.addEventListener("abort", interrupted, { once: true });
    try {
      const content = { prompt, password };
      await this.#send("stdin", "input_request", content, extra);
      return await promise;
    } finally {
      this.#onAnswer = undefined;
      this.signal.removeEventListener("abort", interrupted);
    }
  }

  /** Accepts an `input_reply`. If no input request is open, the reply is dropped, as other kernels do. */
  answer(message: ReceivedMessage): void {
    this.#onAnswer?.(valueOf(message));
  }

  interrupt(): void {
    this.#interrupted.abort(new KernelError("KeyboardInterrupt", ""));
  }

  /** Makes the kernel end after this request. */
  endKernel(): void {
    this.endsKernel = true;
  }

  /** Ends the request; an open input request is never answered. */
  end(): void {
    this.#onAnswer = undefined;
  }
}

/** The value of the answer; empty if the client sent none. */
function valueOf(message: ReceivedMessage): string {
  const value = contentOf(message)?.["value"];
  return typeof value === "string" ? value : "";
}

function pending() {
  let resolve: (value: string) => void = () => {};
  let reject: (reason: KernelError) => void = () => {};
  const promise = new Promise<string>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}
