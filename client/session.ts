/**
 * A handle of one session. Making a handle sends no request; several handles may
 * belong to the same session. A handle subscribes to the session's events when it
 * is first used.
 */
import type {
  ActiveSession,
  ClientMessage,
  ContentOf,
  KernelInfo,
  LimitsRequest,
  PolicyChange,
  SessionLimits,
  SessionPolicy,
  SessionStatus,
  Snapshot as WireSnapshot,
  VarAction,
} from "../contract/index.ts";
import { type Position, toPosition } from "../contract/position.ts";
import { toBase64 } from "./base64.ts";
import { Comms } from "./comms.ts";
import { toCodePoints, toIndex } from "./cursor.ts";
import type { SessionEvent } from "./events.ts";
import type { ExecuteOptions } from "./execute-request.ts";
import { Execution } from "./execution.ts";
import { Executions } from "./executions.ts";
import { rethrowUnless } from "./failure.ts";
import type { AttachOptions } from "./found-execution.ts";
import { Feed } from "./feed.ts";
import type { Accepted, CallOptions, ServerLink } from "./server-link.ts";
import { BEGINNING, read } from "./reader.ts";
import {
  type ReplyTo,
  request,
  type RequestOptions,
  type RequestType,
} from "./requests.ts";
import { type Snapshot, toSnapshot } from "./snapshot.ts";
import { uuid } from "./uuid.ts";
import { unlessAborted } from "./wait.ts";

/** A message for the kernel. Default of `msg_id`: a random UUID. */
export interface OutgoingMessage {
  readonly channel?: "shell" | "control" | "stdin" | undefined;
  readonly msg_type: string;
  readonly content: Record<string, unknown>;
  readonly msg_id?: string | undefined;
  readonly parent_header?: ClientMessage["parent_header"];
  readonly metadata?: Record<string, unknown> | undefined;
  readonly buffers?: readonly Uint8Array[] | undefined;
}

export interface EventsOptions {
  /**
   * The number of the last event that the program has: 0 for all events that are
   * kept. Default: only new events. A position, `<journal_id>:<seq>`, also names the
   * journal: if the session has another journal by now, a `journal` event comes
   * first.
   */
  readonly after?: number | string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Selects lines of the kernel's history: the last `n`, a range of one run of the kernel, or those that match a pattern. */
export type HistoryOptions = RequestOptions & {
  /** Whether to include the output of the lines. Default: false. */
  readonly output?: boolean | undefined;
  /** Whether the lines are as typed, before the kernel's transformations. Default: true. */
  readonly raw?: boolean | undefined;
} & (
    | { readonly n?: number | undefined }
    | {
        /** The number of the kernel's run, in the kernel's count: 0 is the present run, -1 the run before it. */
        readonly run: number;
        readonly start: number;
        readonly stop: number;
      }
    | {
        /** A pattern with the wildcards `*` and `?`. */
        readonly pattern: string;
        readonly n?: number | undefined;
        readonly unique?: boolean | undefined;
      }
  );

/** A line of history: its run, its line number, and its input, with its output if `output` is true. */
export type HistoryEntry = readonly [
  run: number,
  line: number,
  input: string | readonly [input: string, output: string | null],
];

/** Possible texts between two string indices of the code. */
export interface Completions {
  readonly matches: readonly string[];
  readonly cursor_start: number;
  readonly cursor_end: number;
  readonly metadata: Readonly<Record<string, unknown>>;
}

/** A handle of one session. It sends no request until it is used. */
export class Session implements AsyncDisposable {
  readonly session_id: string;
  readonly comms: Comms;
  readonly executions: Executions;
  readonly #link: ServerLink;
  readonly #feed: Feed;
  /** Whether the session ends with this handle. */
  readonly #isOwner: boolean;
  #disposed: Promise<void> | undefined;

  /** `isOwner`: `await using` shuts the session down and deletes it; otherwise it only detaches. */
  constructor(link: ServerLink, session_id: string, isOurs: boolean) {
    this.session_id = session_id;
    this.#link = link;
    this.#feed = new Feed(link, session_id);
    this.#isOwner = isOurs;
    this.comms = new Comms(link, this.#feed);
    this.executions = new Executions(link, session_id);
  }

  /** The last received status; `undefined` before the handle is first used. */
  get status(): SessionStatus | undefined {
    return this.#feed.status;
  }

  /** Runs code. Await the execution for its result, loop over it for its events, or do both. */
  execute(code: string, options: ExecuteOptions = {}): Execution {
    return Execution.begin(this.#feed, code, options);
  }

  /**
   * An existing execution, of any client, as `execute` returned it. Sends no request
   * before it is used; it then rejects with `execution_not_found` if it does not
   * exist, or is no longer kept.
   */
  execution(execution_id: string, options: AttachOptions = {}): Execution {
    return Execution.find(this.#feed, execution_id, options);
  }

  /** The present state: the running execution, the open input request, the displays. Continue with `events` after its `seq`. */
  async snapshot(options: CallOptions = {}): Promise<Snapshot> {
    const snapshot = await this.#link.result(
      this.#sessions.snapshot.query(this.#id, options),
      options,
    );
    // tRPC's type allows `undefined` for each `unknown`; JSON does not contain it.
    return toSnapshot(snapshot as WireSnapshot);
  }

  /** Completions at `cursor` (a string index; default: the end). `cursor_start` and `cursor_end` are string indices too. */
  async complete(
    code: string,
    cursor = code.length,
    options?: RequestOptions,
  ): Promise<Completions> {
    const cursor_pos = toCodePoints(code, cursor);
    const { content } = await this.request(
      "complete_request",
      { code, cursor_pos },
      options,
    );
    const { matches, metadata, cursor_start, cursor_end } = content;
    return {
      matches,
      metadata,
      cursor_start: toIndex(code, cursor_start),
      cursor_end: toIndex(code, cursor_end),
    };
  }

  /** The documentation of the name at `cursor` (a string index; default: the end). `detail_level` 1 requests more, such as its source. */
  async inspect(
    code: string,
    cursor = code.length,
    options: RequestOptions & { readonly detail_level?: 0 | 1 } = {},
  ): Promise<ContentOf<"inspect_reply">> {
    const { detail_level = 0, ...rest } = options;
    const cursor_pos = toCodePoints(code, cursor);
    const content = { code, cursor_pos, detail_level };
    return (await this.request("inspect_request", content, rest)).content;
  }

  /** Whether the code is complete, and the indentation of the next line if it is not. */
  async isComplete(
    code: string,
    options?: RequestOptions,
  ): Promise<ContentOf<"is_complete_reply">> {
    return (await this.request("is_complete_request", { code }, options))
      .content;
  }

  /** Lines of the kernel's history. Default: the last ten. */
  async history(
    options: HistoryOptions = {},
  ): Promise<readonly HistoryEntry[]> {
    const { channel, timeout_ms, signal, ...selection } = options;
    const { content } = await this.request(
      "history_request",
      historyRequest(selection),
      { channel, timeout_ms, signal },
    );
    return content.history as unknown as readonly HistoryEntry[]; // the type of the protocol
  }

  /** Sends any message to the kernel. Resolves once the server has it; `events` has the messages that it causes. */
  send(message: OutgoingMessage, options?: CallOptions): Promise<Accepted> {
    const { channel = "shell", msg_type, msg_id = uuid(), content } = message;
    const { parent_header, metadata, buffers = [] } = message;
    const toMessage = () => ({
      session_id: this.session_id,
      ...this.#feed.target,
      channel,
      header: { msg_id, msg_type },
      content,
      ...(parent_header !== undefined && { parent_header }),
      ...(metadata !== undefined && { metadata }),
      buffers: buffers.map(toBase64),
    });
    return this.#feed.inOrder(() => this.#link.send(toMessage(), options));
  }

  /**
   * Sends a request to the kernel and resolves with the reply. Rejects with a
   * `KernelError` if the reply is an error, with `kernel_exited` if the kernel ends,
   * with `no_answer` after the timeout.
   */
  request<T extends RequestType>(
    msg_type: T,
    content: Readonly<Record<string, unknown>> = {},
    options?: RequestOptions,
  ): Promise<ReplyTo<T>> {
    return request(this.#link, this.#feed, { msg_type, content }, options);
  }

  /**
   * All events of the session, each once and in order, through lost connections.
   * Events that are no longer kept are a `gap`; an event that cannot be read is
   * `unreadable`. A `journal` event says that the session is a new one, whose
   * numbers begin again. Ends when the session is deleted. A slow reader loses
   * nothing: events wait in the server.
   */
  async *events({ after, signal }: EventsOptions = {}): AsyncGenerator<
    SessionEvent,
    void
  > {
    const from = await unlessAborted(this.#from(after), signal);
    yield* read(this.#link, this.#id, { after: from, signal });
  }

  /** The server's description of the session. */
  info(options: CallOptions = {}): Promise<ActiveSession> {
    return this.#link.result(
      this.#sessions.get.query(this.#id, options),
      options,
    );
  }

  /** Starts the kernel. Resolves once it has answered. */
  start(options: CallOptions = {}): Promise<KernelInfo> {
    return this.#link.result(
      this.#sessions.start.mutate(this.#id, options),
      options,
    );
  }

  /** Interrupts the running execution and drops the queued ones, but not those that are requested after this call. To stop a single execution, use its own `interrupt`. */
  async interrupt(options?: CallOptions): Promise<void> {
    const interrupted = this.#call("interrupt", options);
    this.#feed.holdUntil(interrupted);
    await interrupted;
  }

  /** Ends the kernel and starts another one in the same session, in `working_directory` and with the changes of `env` if they are given. */
  async restart(
    options: CallOptions & {
      readonly working_directory?: string | undefined;
      readonly env?: VarAction[] | undefined;
    } = {},
  ): Promise<void> {
    const { working_directory, env, ...call } = options;
    const input = {
      ...this.#id,
      working_directory,
      working_directory_required: true,
      env,
    };
    await this.#link.result(this.#sessions.restart.mutate(input, call), call);
  }

  /** Ends the kernel: asks it first, and kills it after a timeout. Resolves when it has ended. The session stays. */
  shutdown(options?: CallOptions): Promise<void> {
    return this.#call("shutdown", options);
  }

  /** Kills the kernel's whole process tree at once. */
  kill(options?: CallOptions): Promise<void> {
    return this.#call("kill", options);
  }

  /** Replaces the session's labels. */
  async setLabels(
    labels: Readonly<Record<string, string>>,
    options: CallOptions = {},
  ): Promise<void> {
    const input = { ...this.#id, labels: { ...labels } };
    await this.#link.result(
      this.#sessions.set_labels.mutate(input, options),
      options,
    );
  }

  /** Changes when the kernel is shut down by itself, and when it is started again. Missing members stay as they are. Resolves with the whole policy. */
  setPolicy(
    change: PolicyChange,
    options: CallOptions = {},
  ): Promise<SessionPolicy> {
    const input = { ...change, ...this.#id };
    return this.#link.result(
      this.#sessions.set_policy.mutate(input, options),
      options,
    );
  }

  /** Changes what the kernel may use, at once if it runs. Missing members stay as they are. Resolves with all limits. */
  setLimits(
    change: LimitsRequest,
    options: CallOptions = {},
  ): Promise<SessionLimits> {
    const input = { ...change, ...this.#id };
    return this.#link.result(
      this.#sessions.set_limits.mutate(input, options),
      options,
    );
  }

  /** Deletes the session. It must have no running kernel. */
  delete(options?: CallOptions): Promise<void> {
    return this.#call("delete", options);
  }

  /** Ends the subscription; the session goes on. Calls of this handle that still wait for an answer reject. */
  detach(): void {
    this.#feed.close();
  }

  /** Shuts the session down and deletes it if this handle created it; otherwise detaches. */
  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#dispose();
    return this.#disposed;
  }

  get #id() {
    return { session_id: this.session_id };
  }

  get #sessions() {
    return this.#link.trpc.sessions;
  }

  async #call(
    operation: "interrupt" | "shutdown" | "kill" | "delete",
    options: CallOptions = {},
  ): Promise<void> {
    await this.#link.result(
      this.#sessions[operation].mutate(this.#id, options),
      options,
    );
  }

  /** The position of `after`. A number belongs to the present journal. */
  async #from(after: number | string | undefined): Promise<Position> {
    if (typeof after === "string") return toPosition(after);
    if (after === 0) return BEGINNING;
    const { last_seq, journal_id } = await this.#link.retry(() =>
      this.#sessions.get.query(this.#id),
    );
    return { journal_id, seq: Math.min(after ?? last_seq, last_seq) };
  }

  async #dispose(): Promise<void> {
    try {
      if (!this.#isOwner) return;
      await this.shutdown().catch(rethrowUnless("session_not_running"));
      await this.delete();
    } catch (error) {
      rethrowUnless("session_not_found")(error);
    } finally {
      this.detach();
    }
  }
}

function historyRequest(
  selection: Omit<HistoryOptions, keyof RequestOptions>,
): Record<string, unknown> {
  const { output = false, raw = true, ...rest } = selection;
  const common = { output, raw };
  if ("pattern" in rest) {
    return { ...common, hist_access_type: "search", n: 10, ...rest };
  }
  if ("run" in rest) {
    const { run: session, ...range } = rest;
    return { ...common, hist_access_type: "range", session, ...range };
  }
  return { ...common, hist_access_type: "tail", n: 10, ...rest };
}
