/**
 * The steps of a scripted kernel, as plain data. A step that publishes a message
 * is typed by the contract, so that a script can publish only valid messages.
 *
 * Steps contain no behaviour. The same steps run in memory and in a process, and
 * can be passed from one copy of this package to another.
 */
import type { ContentOf, MessageType, MimeBundle } from "../contract/index.ts";

/** A message that the kernel publishes on iopub. */
export interface PublishStep<T extends MessageType = MessageType> {
  readonly step: "publish";
  readonly msg_type: T;
  readonly content: ContentOf<T>;
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly buffers?: readonly Uint8Array[];
}

export interface InputStep {
  readonly step: "input";
  readonly prompt: string;
  readonly password: boolean;
  /** Returns the reaction to the answer. */
  readonly next: ((value: string) => Reaction) | undefined;
}

/** A result. The kernel adds the execution count, which only it knows. */
export interface ResultStep {
  readonly step: "result";
  readonly data: MimeBundle;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly buffers: readonly Uint8Array[];
}

export interface ErrorStep {
  readonly step: "error";
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[] | undefined;
}

export interface Flood {
  /** The number of messages. */
  readonly count: number;
  /** Messages per second. Default: as fast as possible. */
  readonly rate?: number;
  /** The text of message `i`, which counts from 1. */
  readonly text?: (i: number) => string;
}

/** How a kernel's process ends. */
export interface Ending {
  readonly exit_code?: number;
  /** The signal that ends it, such as `SIGKILL`; the exit code is then -1. */
  readonly signal?: string;
  /** What the kernel writes to standard error before its end. */
  readonly output?: string;
}

export type Step =
  | PublishStep
  | InputStep
  | ResultStep
  | ErrorStep
  | {
      readonly step: "answer";
      readonly content: Readonly<Record<string, unknown>>;
    }
  | { readonly step: "wait"; readonly ms: number }
  | {
      readonly step: "print";
      readonly stream: StreamName;
      readonly text: string;
    }
  | { readonly step: "background"; readonly reaction: Reaction }
  | { readonly step: "flood"; readonly flood: Flood }
  | { readonly step: "exit"; readonly ending: Ending }
  | { readonly step: "hang"; readonly isUninterruptible: boolean }
  | { readonly step: "heartbeat"; readonly beats: boolean }
  | { readonly step: "omit"; readonly what: "reply" | "idle" }
  | { readonly step: "answer late"; readonly ms: number }
  | { readonly step: "broken"; readonly how: Breakage };

/** `frames`: too few of them. `signature`: signed with another key. `json`: content that is not JSON. */
export type Breakage = "frames" | "signature" | "json";
export type StreamName = "stdout" | "stderr";

export type Script = Step | readonly Step[];

/** What a kernel does at a request. A function decides at the request; a generator decides while it runs. */
export type Reaction<Call = ExecuteCall> = Script | ((call: Call) => Scripted);

/** What a reaction that is a function may return. */
export type Scripted =
  | Script
  | undefined
  // eslint-disable-next-line @typescript-eslint/no-invalid-void-type -- a function that publishes everything through its call returns nothing
  | void
  | Promise<Script | undefined>
  | Promise<void>
  | AsyncIterable<Step>
  | Iterable<Step>;

/** An execution, as a script sees it. */
export interface ExecuteCall extends Call {
  readonly code: string;
  /** The match of the pattern; `undefined` if the script names the code itself. */
  readonly match: RegExpExecArray | undefined;
  readonly execution_count: number;
  readonly silent: boolean;
  readonly allow_stdin: boolean;
  readonly user_expressions: Readonly<Record<string, unknown>>;
  /** Sends an input request to the client and waits for the answer or an interrupt. */
  readonly input: (
    prompt: string,
    options?: { readonly password?: boolean },
  ) => Promise<string>;
}

/** A client's comm message, as a script sees it. */
export interface CommCall extends Call {
  readonly msg_type: "comm_open" | "comm_msg" | "comm_close";
  readonly comm_id: string;
  /** The target of the comm, if it is open. */
  readonly target_name: string | undefined;
  readonly data: unknown;
  readonly metadata: unknown;
  readonly buffers: readonly Uint8Array[];
}

interface Call {
  /** Performs these steps now. */
  readonly perform: (...steps: readonly Step[]) => Promise<void>;
  /** Aborted by an interrupt. */
  readonly signal: AbortSignal;
  /** The kernel's environment. */
  readonly env: Readonly<Record<string, string>>;
}

export interface PublishOptions {
  readonly metadata?: Readonly<Record<string, unknown>>;
  readonly buffers?: readonly Uint8Array[];
}

export interface DisplayOptions extends PublishOptions {
  /** The id by which `update` finds the display. */
  readonly display_id?: string;
}

export function stream(text: string, name: StreamName = "stdout"): Step {
  return publish("stream", { name, text });
}

/** Shows data. A string means plain text. */
export function display(
  data: MimeBundle | string,
  { display_id, metadata = {}, ...options }: DisplayOptions = {},
): Step {
  const transient = display_id === undefined ? {} : { display_id };
  return publish(
    "display_data",
    { data: toBundle(data), metadata: { ...metadata }, transient },
    options,
  );
}

/** Changes every display with this id. */
export function update(
  display_id: string,
  data: MimeBundle | string,
  { metadata = {}, ...options }: PublishOptions = {},
): Step {
  return publish(
    "update_display_data",
    {
      data: toBundle(data),
      metadata: { ...metadata },
      transient: { display_id },
    },
    options,
  );
}

/** The value of the code: an `execute_result` with the execution count. */
export function result(
  data: MimeBundle | string,
  { metadata = {}, buffers = [] }: PublishOptions = {},
): Step {
  return { step: "result", data: toBundle(data), metadata, buffers };
}

export function clear({ wait = false } = {}): Step {
  return publish("clear_output", { wait });
}

/** Ends the execution as a raised exception does. */
export function error(
  ename: string,
  evalue = "",
  traceback?: readonly string[],
): Step {
  return { step: "error", ename, evalue, traceback };
}

/** Requests input from the client; `next` returns the reaction to the answer. */
export function input(
  prompt: string,
  next?: (value: string) => Reaction,
): Step {
  return { step: "input", prompt, password: false, next };
}

export function password(
  prompt: string,
  next?: (value: string) => Reaction,
): Step {
  return { step: "input", prompt, password: true, next };
}

export function commOpen(
  comm_id: string,
  target_name: string,
  data: unknown = {},
  options?: PublishOptions,
): Step {
  return publish("comm_open", { comm_id, target_name, data }, options);
}

export function commMsg(
  comm_id: string,
  data: unknown,
  options?: PublishOptions,
): Step {
  return publish("comm_msg", { comm_id, data }, options);
}

export function commClose(
  comm_id: string,
  data: unknown = {},
  options?: PublishOptions,
): Step {
  return publish("comm_close", { comm_id, data }, options);
}

/** Publishes any message of the protocol on iopub. */
export function publish<T extends MessageType>(
  msg_type: T,
  content: ContentOf<T>,
  { metadata, buffers }: PublishOptions = {},
): PublishStep {
  const step: PublishStep<T> = {
    step: "publish",
    msg_type,
    content,
    ...(metadata !== undefined && { metadata }),
    ...(buffers !== undefined && { buffers }),
  };
  return step;
}

/** Sets fields of the reply besides `status` and `execution_count`: `payload`, `user_expressions`. */
export function answer(
  content: Omit<Partial<ContentOf<"execute_reply">>, "status">,
): Step {
  return { step: "answer", content };
}

/** Waits so many milliseconds on the mock's clock. An interrupt ends the wait. */
export function wait(ms: number): Step {
  return { step: "wait", ms };
}

/** Writes to the process's own output, not through the protocol. */
export function print(text: string, name: StreamName = "stdout"): Step {
  return { step: "print", stream: name, text };
}

/** Starts a reaction like that of a thread: the execution does not wait for it. */
export function background(reaction: Reaction): Step {
  return { step: "background", reaction };
}

/** Publishes many lines on stdout, one message per line. */
export function flood(flood: Flood): Step {
  return { step: "flood", flood };
}

/** Ends the kernel. */
export function exit(ending: Ending | number = {}): Step {
  return {
    step: "exit",
    ending: typeof ending === "number" ? { exit_code: ending } : ending,
  };
}

/** Runs until an interrupt; with `uninterruptible` it ignores interrupts too. */
export function hang({ uninterruptible = false } = {}): Step {
  return { step: "hang", isUninterruptible: uninterruptible };
}

/** Stops the heartbeat; everything else continues. */
export function stopHeartbeat(): Step {
  return { step: "heartbeat", beats: false };
}

export function startHeartbeat(): Step {
  return { step: "heartbeat", beats: true };
}

/** The kernel never sends the `idle` status, or the reply, of this execution. */
export function omit(what: "reply" | "idle"): Step {
  return { step: "omit", what };
}

/** The kernel sends the reply so many milliseconds after the `idle` status. */
export function answerLate(ms: number): Step {
  return { step: "answer late", ms };
}

/** Sends a message that every receiver must refuse. */
export function broken(how: Breakage): Step {
  return { step: "broken", how };
}

function toBundle(data: MimeBundle | string): MimeBundle {
  return typeof data === "string" ? { "text/plain": data } : data;
}
