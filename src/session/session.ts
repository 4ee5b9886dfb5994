/**
 * One durable session: it outlives the clients that attach to it and the
 * kernels that it starts. What its kernels say, and what it has to say itself,
 * is appended to one journal, in one order.
 */
import {
  type ConnectionInfo,
  failure,
  type OwnEvent,
  type ResourceUsage,
  type SessionStatus,
  SupervisorError,
  type VarAction,
} from "../../contract/index.ts";
import { compose, contentOf, type Message } from "../jupyter/message.ts";
import type {
  Exit,
  Hooks,
  Kernel,
  Launched,
  Provisioner,
  Recipe,
} from "../kernel/kernel.ts";
import type { Log } from "../log.ts";
import type { MessageEntry } from "./entry.ts";
import { ExecutionQueue } from "./execution-queue.ts";
import { Journal, type JournalOptions } from "./journal.ts";
import { type Happening, isRunning, next } from "./lifecycle.ts";
import { Outbox } from "./outbox.ts";
import { Ownership } from "./ownership.ts";
import { RecentIds } from "./recent-ids.ts";

/** What a session is made from, resolved: nothing is optional but what may really be absent. */
export interface SessionSpec {
  readonly session_id: string;
  readonly argv: readonly string[];
  readonly display_name: string;
  readonly language: string;
  readonly username: string;
  readonly interrupt_mode: "signal" | "message";
  readonly session_mode: "console" | "notebook" | "background";
  readonly working_directory: string;
  readonly notebook_uri: string | undefined;
  readonly input_prompt: string;
  readonly continuation_prompt: string;
  readonly env: readonly VarAction[];
  readonly spec_env: Readonly<Record<string, string>> | undefined;
  /** Seconds; negative for no bound. */
  readonly connection_timeout: number;
  readonly protocol_version: string;
  readonly startup_environment: "none" | "shell" | "command" | "script";
  readonly startup_environment_arg: string | undefined;
  readonly kernel_name: string | undefined;
  /** The kernel's signing key: one for the session's whole life. */
  readonly key: string;
}

export interface SessionOptions {
  readonly provisioner: Provisioner;
  readonly log: Log;
  readonly journal: Omit<JournalOptions, "log">;
  /** Told of every change of status. */
  readonly changed?: (session: Session) => void;
}

/** Most execute requests that may wait. */
const QUEUE_LIMIT = 10_000;
/** How long the second sign that a request is over may be missing. */
const SECOND_SIGN_MS = 2_000;

export class Session {
  readonly spec: SessionSpec;
  readonly journal: Journal;
  readonly ownership = new Ownership();
  readonly queue = new ExecutionQueue(QUEUE_LIMIT);
  readonly created = new Date();
  /** Set by whoever samples it; kept after an exit. */
  resource_usage: ResourceUsage | undefined;
  readonly #options: SessionOptions;
  readonly #ended = new AbortController();
  readonly #outbox = new Outbox();
  readonly #accepted = new RecentIds();
  readonly #awaited = new Map<string, (reply: MessageEntry) => void>();
  #status: SessionStatus = "uninitialized";
  #since = Date.now();
  #startedAt: Date | undefined;
  /** The present run; what an older one says finds a closed door. */
  #run: object | undefined;
  #launched: Launched | undefined;
  #starting: AbortController | undefined;
  #kernel: Kernel | undefined;
  /** Resolves when the present run is over. */
  #over: Promise<void> = Promise.resolve();
  #isRestarting = false;
  #env: readonly VarAction[];
  #workingDirectory: string;
  #environment: Readonly<Record<string, string>> = {};
  #info: Readonly<Record<string, unknown>> = {};
  #connection: ConnectionInfo | undefined;
  #lastSign: NodeJS.Timeout | undefined;
  #executionState: "busy" | "idle" | undefined;

  constructor(spec: SessionSpec, options: SessionOptions) {
    this.spec = spec;
    this.#options = options;
    this.#env = spec.env;
    this.#workingDirectory = spec.working_directory;
    this.journal = new Journal({ ...options.journal, log: options.log });
  }

  get id(): string {
    return this.spec.session_id;
  }
  get status(): SessionStatus {
    return this.#status;
  }
  /** When the present status began; milliseconds since 1970. */
  get since(): number {
    return this.#since;
  }
  get startedAt(): Date {
    return this.#startedAt ?? this.created;
  }
  get isRunning(): boolean {
    return isRunning(this.#status);
  }
  /** Of the process that runs, or is starting. */
  get pid(): number | undefined {
    return this.#launched?.pid;
  }
  get connectionFile(): string | undefined {
    return this.#launched?.connection_file;
  }
  /** The whole environment of the last start. */
  get environment(): Readonly<Record<string, string>> {
    return this.#environment;
  }
  get workingDirectory(): string {
    return this.#workingDirectory;
  }
  /** The last kernel's `kernel_info_reply`; `{}` before the first. */
  get info(): Readonly<Record<string, unknown>> {
    return this.#info;
  }
  /** Aborts when the session is deleted. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Launches the kernel and waits for its first answer, which it resolves to. */
  start(): Promise<Readonly<Record<string, unknown>>> {
    return this.#begin("start", (hooks, signal) =>
      this.#options.provisioner.launch(this.#recipe(), hooks, signal),
    );
  }

  /** Connects to a kernel that somebody else started; resolves to its first answer. */
  adopt(
    connection: ConnectionInfo,
  ): Promise<Readonly<Record<string, unknown>>> {
    return this.#begin("adopt", (hooks, signal) =>
      this.#options.provisioner.adopt(
        this.#recipe(),
        connection,
        hooks,
        signal,
      ),
    );
  }

  /** Stops what runs and starts anew, in another directory or environment where that is given. */
  async restart({
    working_directory,
    env,
  }: {
    working_directory?: string | undefined;
    env?: readonly VarAction[] | undefined;
  }): Promise<void> {
    if (this.#isRestarting) {
      const why = "it is being restarted already";
      throw failure("restart_failed", { session_id: this.id, why });
    }
    this.#isRestarting = true;
    try {
      if (env !== undefined && env.length > 0) this.#env = env;
      this.#noteDirectory(
        working_directory === undefined || working_directory === ""
          ? this.#kernel?.workingDirectory()
          : working_directory,
      );
      await this.#stopped(true);
      await this.start();
    } finally {
      this.#isRestarting = false;
    }
  }

  /** Asks the kernel to end, insists, forces; resolves when it is gone. */
  async shutDown(): Promise<void> {
    if (!this.isRunning) {
      throw failure("session_not_running", { session_id: this.id });
    }
    await this.#stopped(false);
  }

  /** Ends the kernel's whole process tree. Does not wait until it is gone. */
  async kill(): Promise<void> {
    if (this.#status === "exited") {
      throw failure("session_not_running", { session_id: this.id });
    }
    this.#abandon(this.queue.drop());
    if (this.#starting !== undefined) {
      this.#starting.abort(
        failure("start_failed", { session_id: this.id, why: "it was killed" }),
      );
      return;
    }
    if (this.#kernel === undefined) {
      throw failure("no_process", { session_id: this.id });
    }
    await this.#kernel.kill();
  }

  /** Interrupts what runs; what waits is dropped. */
  async interrupt(): Promise<void> {
    const kernel = this.#kernel;
    if (kernel === undefined) {
      const why =
        this.#status === "starting"
          ? "its kernel is still starting"
          : "it has no running kernel";
      throw failure("interrupt_failed", { session_id: this.id, why });
    }
    this.#abandon(this.queue.drop());
    await kernel.interrupt();
    // A client that waits for the effect hears a status even where there was nothing to interrupt.
    if (this.#status !== "busy" && this.isRunning) {
      this.#say({ kind: "status", status: this.#status, reason: "interrupt" });
    }
  }

  /** Where the kernel is, or where the next one will be. */
  async connectionInfo(): Promise<ConnectionInfo> {
    this.#connection ??=
      this.#kernel?.connection ??
      (await this.#options.provisioner.reserve(this.#recipe()));
    return this.#connection;
  }

  /**
   * client → kernel, in order on each channel. Until the kernel is ready,
   * messages wait for it. False for a `msg_id` that was accepted before: it is
   * not sent again.
   */
  send(message: Message): boolean {
    const { msg_id } = message.header;
    if (this.#accepted.has(msg_id)) return false;
    if (this.#kernel === undefined) this.#keep(message);
    else this.#forward(this.#kernel, message);
    this.#accepted.add(msg_id);
    return true;
  }

  /** Sends a request and resolves with its reply. Throws `no_answer`, `kernel_exited`, `session_not_running`. */
  async request(request: Message, timeout_ms: number): Promise<MessageEntry> {
    const session_id = this.id;
    if (!this.isRunning) throw failure("session_not_running", { session_id });
    const { msg_id, msg_type } = request.header;
    const over = this.#over;
    let timer: NodeJS.Timeout | undefined;
    try {
      return await new Promise<MessageEntry>((resolve, reject) => {
        this.#awaited.set(msg_id, resolve);
        timer = setTimeout(() => {
          const why = `the ${msg_type} within ${timeout_ms / 1000} s`;
          reject(failure("no_answer", { session_id, why }));
        }, timeout_ms);
        void over.then(() =>
          reject(failure("kernel_exited", { session_id, why: "it is gone" })),
        );
        this.send(request);
      });
    } finally {
      clearTimeout(timer);
      this.#awaited.delete(msg_id);
    }
  }

  /** Records a sample, for those who listen. */
  sampled(usage: ResourceUsage): void {
    this.resource_usage = usage;
    this.#say({ kind: "resource_usage", usage });
  }

  /** Ends what runs, whoever is attached, and everything that is the session's. */
  async dispose(): Promise<void> {
    if (this.isRunning) {
      await this.#stopped(false).catch((error: unknown) =>
        this.#options.log.error(
          { err: error, session: this.id },
          "Not stopped",
        ),
      );
    }
    this.#options.provisioner.release(this.id);
    this.#ended.abort();
    await this.journal[Symbol.asyncDispose]();
  }

  async #begin(
    happening: "start" | "adopt",
    bring: (hooks: Hooks, signal: AbortSignal) => Promise<Kernel>,
  ): Promise<Readonly<Record<string, unknown>>> {
    if (this.#ended.signal.aborted) {
      throw failure("session_not_found", { session_id: this.id });
    }
    if (!this.#happen(happening, `${happening} was asked for`)) {
      throw failure("session_running", { session_id: this.id });
    }
    const run = {};
    let finish = () => {};
    this.#run = run;
    this.#over = new Promise((resolve) => (finish = resolve));
    this.#startedAt = new Date();
    this.#executionState = undefined;
    const starting = new AbortController();
    this.#starting = starting;
    try {
      const kernel = await bring(this.#hooks(run, finish), starting.signal);
      if (this.#run !== run) {
        const why = "right after its first answer";
        throw failure("exited_during_start", { session_id: this.id, why });
      }
      this.#kernel = kernel;
      this.#connection = kernel.connection;
      this.#info = kernel.info;
      this.#happen("answer", null);
      this.#starting = undefined;
      for (const message of this.#outbox.take()) this.#forward(kernel, message);
      return kernel.info;
    } catch (error) {
      if (this.#run === run) {
        // Nothing ran, or nothing that could exit: there is no exit to tell of.
        this.#finish(run, finish, reasonOf(error));
      }
      throw error;
    } finally {
      if (this.#starting === starting) this.#starting = undefined;
    }
  }

  #hooks(run: object, finish: () => void): Hooks {
    const isPresent = () => this.#run === run;
    return {
      launched: (launched) => {
        if (!isPresent()) return;
        this.#launched = launched;
        this.#environment = launched.environment;
        this.#noteDirectory(launched.working_directory);
      },
      message: (message) => {
        if (isPresent()) this.#heard(message);
      },
      output: (stream, text) => {
        if (isPresent()) this.#say({ kind: "output", stream, text });
      },
      registered: (connection) => {
        if (!isPresent()) return;
        this.#say({ kind: "handshake", session_id: this.id, connection });
      },
      heartbeat: (beats) => {
        if (isPresent()) this.#heartbeat(beats);
      },
      exited: (exit) => {
        if (isPresent()) this.#exited(run, finish, exit);
      },
    };
  }

  #recipe(): Recipe {
    const { spec } = this;
    return {
      ...spec,
      env: this.#env,
      working_directory: this.#workingDirectory,
      connection: this.#connection,
      timeout_ms:
        spec.connection_timeout < 0
          ? undefined
          : spec.connection_timeout * 1000,
    };
  }

  /** kernel → journal. The status goes before the message that tells of it. */
  #heard(message: Message): void {
    const { channel, header, parent_header } = message;
    const parent_id = parent_header?.msg_id;
    if (channel === "iopub") {
      if (header.msg_type === "status") this.#heardStatus(message);
      this.journal.append(message);
      return;
    }
    const entry = this.journal.append(message);
    if (parent_id === undefined) return;
    this.#awaited.get(parent_id)?.(entry);
    if (header.msg_type === "execute_reply") this.#heardReply(message);
  }

  #heardStatus(message: Message): void {
    const { parent_header } = message;
    const state = executionStateOf(message);
    if (state === undefined) return;
    const subshell = parent_header?.subshell_id;
    if (subshell !== undefined && subshell !== null) return; // says nothing of the main shell
    const reason = parent_header?.msg_type ?? null;
    this.#executionState = state;
    this.#happen(state, reason);
    if (state === "busy") return;
    if (reason === "execute_request") {
      this.#noteDirectory(this.#kernel?.workingDirectory());
    }
    this.#advance("idle", parent_header?.msg_id);
  }

  #heardReply(message: Message): void {
    const parent_id = message.parent_header?.msg_id;
    const isActive = this.queue.active?.header.msg_id === parent_id;
    if (isActive && hasFailed(message)) this.#abandon(this.queue.fail());
    this.#advance("reply", parent_id);
  }

  /** The next request goes out when both signs have been heard, or when the second one is overdue. */
  #advance(sign: "idle" | "reply", msg_id: string | undefined): void {
    const heard = this.queue.hear(sign, msg_id);
    if (heard === "another") return;
    clearTimeout(this.#lastSign);
    if (heard === "over") this.#sendNext();
    else {
      this.#lastSign = setTimeout(() => this.#sendNext(), SECOND_SIGN_MS);
      this.#lastSign.unref();
    }
  }

  #sendNext(): void {
    const request = this.queue.advance();
    if (request === undefined) return;
    try {
      this.#kernel?.send(request);
    } catch (error) {
      this.#options.log.warn(
        { err: error, session: this.id },
        "A request that waited could not be sent",
      );
      this.#abandon(this.queue.clear());
    }
  }

  #forward(kernel: Kernel, message: Message): void {
    const { msg_id, msg_type } = message.header;
    if (msg_type === "interrupt_request" || msg_type === "shutdown_request") {
      this.#abandon(this.queue.drop());
    }
    if (!ExecutionQueue.concerns(message)) {
      kernel.send(message);
      return;
    }
    if (this.queue.isFull) {
      const why = `${QUEUE_LIMIT} requests wait already: wait for some to end`;
      throw failure("too_busy", { why });
    }
    if (this.queue.offer(message)) kernel.send(message);
    else this.#say({ kind: "execution_queued", msg_id });
  }

  /** No kernel is there yet: the message waits for one, unless it was meant for the one that is gone. */
  #keep(message: Message): void {
    const { channel } = message;
    const isMeantForNext =
      channel === "shell" || (channel === "stdin" && this.isRunning);
    if (this.#status === "starting" || isMeantForNext) {
      this.#outbox.add(message);
      return;
    }
    throw failure("session_not_running", { session_id: this.id });
  }

  /** Requests that will not run, or not to their end, are answered as a kernel would that drops them; `why` adds to the reply. */
  #abandon(
    requests: readonly Message[],
    why: Readonly<Record<string, unknown>> = {},
  ): void {
    for (const request of requests) {
      const draft = {
        session: this.id,
        username: this.spec.username,
        parent: request,
      };
      this.#heard(
        compose({
          ...draft,
          channel: "shell",
          msg_type: "execute_reply",
          content: { status: "aborted", ...why },
        }),
      );
      this.journal.append(
        compose({
          ...draft,
          channel: "iopub",
          msg_type: "status",
          content: { execution_state: "idle" },
        }),
      );
    }
  }

  #heartbeat(beats: boolean): void {
    if (!beats) this.#happen("silence", "heartbeat lost");
    else if (this.#status === "offline") {
      this.#happen(this.#executionState ?? "answer", "heartbeat is back");
    }
  }

  #exited(run: object, finish: () => void, exit: Exit): void {
    const { exit_code, signal, output } = exit;
    const how = signal === null ? `exit code ${exit_code}` : `signal ${signal}`;
    this.#abandon(this.queue.clear(), {
      reason: "kernel_exited",
      ename: "KernelExited",
      evalue: how,
      traceback: [],
    });
    this.#options.log.info({ session: this.id }, `Kernel exited: ${how}`);
    this.#finish(run, () => {}, `process exited: ${how}`);
    this.#say({ kind: "exited", exit_code, signal, output });
    finish();
  }

  /** The run is over: nothing of it is heard any more. */
  #finish(run: object, finish: () => void, reason: string): void {
    if (this.#run !== run) return;
    this.#run = undefined;
    this.#kernel = undefined;
    this.#launched = undefined;
    this.#connection = undefined;
    clearTimeout(this.#lastSign);
    this.#options.provisioner.release(this.id);
    this.#happen("exit", reason);
    finish();
  }

  async #stopped(restart: boolean): Promise<void> {
    const over = this.#over;
    this.#abandon(this.queue.drop());
    if (this.#starting !== undefined) {
      this.#starting.abort(
        failure("start_failed", { session_id: this.id, why: "it was stopped" }),
      );
    } else {
      await this.#kernel?.stop(restart);
    }
    await over;
  }

  #noteDirectory(path: string | undefined): void {
    if (path === undefined || path === this.#workingDirectory) return;
    this.#workingDirectory = path;
    this.#say({ kind: "working_directory", path });
  }

  /** The only place where the status changes. */
  #happen(happening: Happening, reason: string | null): boolean {
    const status = next(this.#status, happening);
    if (status === undefined) return false;
    this.#status = status;
    this.#since = Date.now();
    this.#say({ kind: "status", status, reason });
    this.#options.changed?.(this);
    return true;
  }

  #say(event: OwnEvent): void {
    this.journal.say(event);
  }
}

function executionStateOf(message: Message): "busy" | "idle" | undefined {
  const state = fieldOf(message, "execution_state");
  return state === "busy" || state === "idle" ? state : undefined;
}

/** IRkernel says `abort` where others say `error`. */
function hasFailed(reply: Message): boolean {
  const status = fieldOf(reply, "status");
  return status === "error" || status === "abort" || status === "aborted";
}

function fieldOf(message: Message, name: string): unknown {
  try {
    return (contentOf(message) as Record<string, unknown>)[name];
  } catch {
    return undefined; // no JSON: it says nothing that we need
  }
}

function reasonOf(error: unknown): string {
  return error instanceof SupervisorError
    ? error.message
    : "the start went wrong";
}
