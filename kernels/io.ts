/**
 * What a kernel can say while it answers one request, and whom it may ask.
 *
 * Everything said here has the request as its parent, also after the request
 * has been answered: output of a thread left behind does that.
 */
import type { Received } from "../src/jupyter/frames.ts";
import { contentOf, type Channel } from "../src/jupyter/message.ts";

/** What a message says, by the protocol's own names. */
export type Content = Readonly<Record<string, unknown>>;
export type MimeBundle = Readonly<Record<string, unknown>>;

export interface Extra {
  readonly metadata?: unknown;
  readonly buffers?: readonly Uint8Array[];
  /** In the header; the kernel's own unless given. */
  readonly version?: string;
}

/** The content of an `execute_request`, what was left out filled in. */
export interface ExecuteRequest {
  readonly code: string;
  readonly silent: boolean;
  readonly store_history: boolean;
  readonly user_expressions: Readonly<Record<string, unknown>>;
  readonly allow_stdin: boolean;
  readonly stop_on_error: boolean;
}

/** Thrown by a handler: the answer is `status: "error"`, for an execution published as `error` too. */
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

type Say = (
  channel: Channel,
  msg_type: string,
  content: unknown,
  extra?: Extra,
) => Promise<void>;

export class Io {
  readonly request: Received;
  /** The number of this execution. */
  execution_count = 0;
  silent = false;
  stopsOnError = false;
  endsKernel = false;
  readonly #say: Say;
  readonly #interrupted = new AbortController();
  #allowStdin = false;
  #answered: ((value: string) => void) | undefined;

  constructor(request: Received, say: Say) {
    this.request = request;
    this.#say = say;
  }

  /** Aborted by an interrupt, with a `KernelError` named KeyboardInterrupt. */
  get signal(): AbortSignal {
    return this.#interrupted.signal;
  }

  /** Reads an `execute_request`, and what it permits. */
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

  /** Changes every display of that id, whichever request made it. */
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

  /** Any message on iopub. */
  publish(msg_type: string, content: unknown, extra?: Extra): Promise<void> {
    return this.#say("iopub", msg_type, content, extra);
  }

  /** To the asking client, on the channel it asked on; as often and as late as one likes. */
  reply(content: unknown, extra?: Extra): Promise<void> {
    const msg_type = this.request.header.msg_type.replace(
      /_request$/,
      "_reply",
    );
    return this.#say(this.request.channel, msg_type, content, extra);
  }

  /**
   * Asks the client whose request this is, and waits for its answer or the
   * interrupt. Throws where the request did not allow it.
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
    this.#answered = resolve;
    const interrupted = () => {
      reject(this.signal.reason as KernelError);
    };
    this.signal.addEventListener("abort", interrupted, { once: true });
    try {
      const content = { prompt, password };
      await this.#say("stdin", "input_request", content, extra);
      return await promise;
    } finally {
      this.#answered = undefined;
      this.signal.removeEventListener("abort", interrupted);
    }
  }

  /** An `input_reply` came. One that nobody waits for is dropped, as kernels do. */
  answer(message: Received): void {
    this.#answered?.(valueOf(message));
  }

  interrupt(): void {
    this.#interrupted.abort(new KernelError("KeyboardInterrupt", ""));
  }

  /** The kernel ends by itself once this request is over. */
  endKernel(): void {
    this.endsKernel = true;
  }

  /** The request is over; a prompt still open stays unanswered for good. */
  end(): void {
    this.#answered = undefined;
  }
}

/** Empty, where the client wrote what is no answer. */
function valueOf(message: Received): string {
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
