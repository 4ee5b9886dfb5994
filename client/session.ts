/**
 * One session, as a program uses it. A handle: making one asks nothing of the
 * server, and any number may stand for the same session. It begins to listen
 * when it is first used.
 */
import type {
  ActiveSession,
  ClientMessage,
  ContentOf,
  KernelInfo,
  PolicyChange,
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

/** A message for the kernel. `msg_id` is made up where absent. */
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
   * The last number that was seen: 0 for everything that is kept. Absent: only
   * what comes. As a position, `<journal_id>:<seq>`, it also says in which
   * journal: where the session is another one by now, a `journal` event says so
   * first.
   */
  readonly after?: number | string | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Which lines of the kernel's history: the last `n`, a range of one of its runs, or those that match. */
export type HistoryOptions = RequestOptions & {
  /** Also what the lines gave. */
  readonly output?: boolean | undefined;
  /** As typed, before the kernel's own transformations. */
  readonly raw?: boolean | undefined;
} & (
    | { readonly n?: number | undefined }
    | {
        /** Of the kernel's own count; 0 is the present run, -1 the one before. */
        readonly run: number;
        readonly start: number;
        readonly stop: number;
      }
    | {
        /** With `*` and `?`. */
        readonly pattern: string;
        readonly n?: number | undefined;
        readonly unique?: boolean | undefined;
      }
  );

/** A line of history: the run and line that it was, and what was typed, with its output where that was asked for. */
export type HistoryEntry = readonly [
  run: number,
  line: number,
  input: string | readonly [input: string, output: string | null],
];

/** What could stand between two string indices of the code. */
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
  /** Whether it ends with this handle. */
  readonly #isOurs: boolean;
  #disposed: Promise<void> | undefined;

  /** `isOurs`: `await using` shuts it down and deletes it, rather than only to detach. */
  constructor(line: ServerLink, session_id: string, isOurs: boolean) {
    this.session_id = session_id;
    this.#link = line;
    this.#feed = new Feed(line, session_id);
    this.#isOurs = isOurs;
    this.comms = new Comms(line, this.#feed);
    this.executions = new Executions(line, session_id);
  }

  /** As last heard; `undefined` before this handle began to listen. */
  get status(): SessionStatus | undefined {
    return this.#feed.status;
  }

  /** Runs code. Await it for how it ended, or loop over it for what it says; or both. */
  execute(code: string, options: ExecuteOptions = {}): Execution {
    return Execution.begin(this.#feed, code, options);
  }

  /**
   * An execution that is there already, whoever asked for it: the same as what
   * `execute` gave. Asks nothing of the server before it is used; rejects then
   * with `execution_not_found` where there is none, or it is no longer kept.
   */
  execution(execution_id: string, options: AttachOptions = {}): Execution {
    return Execution.find(this.#feed, execution_id, options);
  }

  /** What is true now: what runs, what is asked, what is shown. Go on with `events` after its `seq`. */
  async snapshot(options: CallOptions = {}): Promise<Snapshot> {
    const snapshot = await this.#link.ask(
      this.#sessions.snapshot.query(this.#id, options),
      options,
    );
    // What tRPC takes to be lost on the way, an `unknown` that is undefined, is not in JSON.
    return toSnapshot(snapshot as WireSnapshot);
  }

  /** What could stand at `cursor` (a string index; the end unless said). `cursor_start` and `cursor_end` are string indices too. */
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

  /** What is known of the thing at `cursor` (a string index; the end unless said). `detail_level` 1 asks for more, such as its source. */
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

  /** Whether code could run as it is, and how far the next line would be indented. */
  async isComplete(
    code: string,
    options?: RequestOptions,
  ): Promise<ContentOf<"is_complete_reply">> {
    return (await this.request("is_complete_request", { code }, options))
      .content;
  }

  /** The last ten lines unless said otherwise. */
  async history(
    options: HistoryOptions = {},
  ): Promise<readonly HistoryEntry[]> {
    const { channel, timeout_ms, signal, ...wanted } = options;
    const { content } = await this.request(
      "history_request",
      historyRequest(wanted),
      { channel, timeout_ms, signal },
    );
    return content.history as unknown as readonly HistoryEntry[]; // as the protocol has it
  }

  /** Says anything to the kernel. Resolves once the server has it; what is said in return comes with `events`. */
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
   * Asks the kernel anything that has a reply. Rejects with a `KernelError`
   * where it answers with an error, with `kernel_exited` where it dies, with
   * `no_answer` where it takes too long.
   */
  request<T extends RequestType>(
    msg_type: T,
    content: Readonly<Record<string, unknown>> = {},
    options?: RequestOptions,
  ): Promise<ReplyTo<T>> {
    return request(this.#link, this.#feed, { msg_type, content }, options);
  }

  /**
   * Everything that the session says, each event once and in order, through
   * lost connections. What is no longer kept is a `gap`; what cannot be read is
   * `unreadable`. A `journal` event says that the session is a new one, whose
   * numbers begin again. Ends when the session is deleted. Take your time: what waits, waits in the server.
   */
  async *events({ after, signal }: EventsOptions = {}): AsyncGenerator<
    SessionEvent,
    void
  > {
    const from = await unlessAborted(this.#from(after), signal);
    yield* read(this.#link, this.#id, { after: from, signal });
  }

  /** What the server knows of it. */
  info(options: CallOptions = {}): Promise<ActiveSession> {
    return this.#link.ask(this.#sessions.get.query(this.#id, options), options);
  }

  /** Starts the kernel. Resolves once it has answered. */
  start(options: CallOptions = {}): Promise<KernelInfo> {
    return this.#link.ask(
      this.#sessions.start.mutate(this.#id, options),
      options,
    );
  }

  /** Interrupts what runs; what waits is dropped, and what is executed after this was called is not. To stop one execution only, interrupt that. */
  async interrupt(options?: CallOptions): Promise<void> {
    const asked = this.#do("interrupt", options);
    this.#feed.holdUntil(asked);
    await asked;
  }

  /** Ends the kernel and starts another in the same session; elsewhere, or with other variables, where that is given. */
  async restart(
    options: CallOptions & {
      readonly working_directory?: string | undefined;
      readonly env?: VarAction[] | undefined;
    } = {},
  ): Promise<void> {
    const { working_directory, env, ...call } = options;
    const wanted = {
      ...this.#id,
      working_directory,
      working_directory_required: true,
      env,
    };
    await this.#link.ask(this.#sessions.restart.mutate(wanted, call), call);
  }

  /** Ends the kernel, gently first. Resolves when it is gone. The session stays. */
  shutdown(options?: CallOptions): Promise<void> {
    return this.#do("shutdown", options);
  }

  /** Ends the kernel's whole process tree without asking it. */
  kill(options?: CallOptions): Promise<void> {
    return this.#do("kill", options);
  }

  /** Replaces the session's labels. */
  async setLabels(
    labels: Readonly<Record<string, string>>,
    options: CallOptions = {},
  ): Promise<void> {
    const wanted = { ...this.#id, labels: { ...labels } };
    await this.#link.ask(
      this.#sessions.set_labels.mutate(wanted, options),
      options,
    );
  }

  /** Says when its kernel is shut down, and when it is started again. What is not given stays. Resolves with all of it. */
  setPolicy(
    change: PolicyChange,
    options: CallOptions = {},
  ): Promise<SessionPolicy> {
    const wanted = { ...change, ...this.#id };
    return this.#link.ask(
      this.#sessions.set_policy.mutate(wanted, options),
      options,
    );
  }

  /** Forgets the session. It must have no running kernel. */
  delete(options?: CallOptions): Promise<void> {
    return this.#do("delete", options);
  }

  /** Stops listening; the session goes on. What still waits here for an answer rejects. */
  detach(): void {
    this.#feed.close();
  }

  /** Ends what this handle began, and detaches from what it found. */
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

  async #do(
    what: "interrupt" | "shutdown" | "kill" | "delete",
    options: CallOptions = {},
  ): Promise<void> {
    await this.#link.ask(
      this.#sessions[what].mutate(this.#id, options),
      options,
    );
  }

  /** A number is one of the present journal. */
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
      if (!this.#isOurs) return;
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
  wanted: Omit<HistoryOptions, keyof RequestOptions>,
): Record<string, unknown> {
  const { output = false, raw = true, ...rest } = wanted;
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
