/**
 * One durable session: it outlives the clients that attach to it and the
 * kernels that it starts. Messages of its kernels and events of the session
 * itself are appended to one journal, in one order.
 */
import { randomBytes } from "node:crypto";
import {
  type ConnectionInfo,
  failure,
  type KernelInfo,
  type Labels,
  NO_LIMITS,
  type OwnEvent,
  type ResourceUsage,
  type SessionLimits,
  type SessionPolicy,
  type SessionStatus,
  SupervisorError,
  type VarAction,
} from "../../contract/index.ts";
import type { Refusal } from "../jupyter/admission.ts";
import { kernelInfoIn } from "../jupyter/kernel-info.ts";
import { type Message, sizeOf } from "../jupyter/message.ts";
import { membersIn } from "../jupyter/raw-json.ts";
import { type Burst, frameBytesIn } from "../jupyter/record.ts";
import { describeExit, type Exit } from "../host/exit.ts";
import type {
  Kernel,
  LimitsChange,
  Provisioner,
  Recipe,
  ShellState,
} from "../kernel/kernel.ts";
import type { Log } from "../log/log.ts";
import type { Faults } from "../log/faults.ts";
import type { SessionNamed, Telemetry } from "../telemetry/telemetry.ts";
import { expectMany } from "../time/signals.ts";
import { within } from "../time/within.ts";
import { type Derived, takeCheckpoint } from "./checkpoint.ts";
import { type CheckpointPace, CheckpointWriter } from "./checkpoints.ts";
import { noComms, noteComm } from "./comms.ts";
import { noDisplays, noteDisplay, noteDisplays } from "./displays.ts";
import type { Entry } from "../journal/entry.ts";
import type { Execution } from "./executions/execution.ts";
import type { ExecutionQueue } from "./executions/queue.ts";
import type { Executions } from "./executions/executions.ts";
import { type Facts, noFacts, noteFact } from "./facts.ts";
import type { History } from "./history.ts";
import type { Mark } from "../journal/chunk.ts";
import { Journal, type JournalOptions } from "../journal/journal.ts";
import { type Trigger, isRunning, next } from "./lifecycle.ts";
import { JupyterClients } from "./jupyter-clients.ts";
import { Ownership } from "./ownership.ts";
import { type ExitOutcome, STAYS_EXITED, takeStart } from "./policy.ts";
import type { Principal } from "./principal.ts";
import { type InputAnswer, Requests } from "./requests.ts";
import { type KernelStarter, PROBE, Run, type RunHooks } from "./run.ts";
import { restoreState } from "./replay.ts";
import type { SessionSpec } from "./spec.ts";
import type { SavedDocument, SavedSession, SessionStore } from "./store.ts";

/** Clients send these requests to check whether a kernel answers. They do not count as use of the kernel. */
const PROBES: ReadonlySet<string> = new Set([PROBE, "comm_info_request"]);

/** How long an operation waits until the session is attached to its kernel again. */
const LONGEST_RESTORE_MS = 30_000;
/** A later use of an ended session is written down if it is later by this much. */
const USE_MS = 60_000;
/** Time that attached clients have to read the final messages when the session ends. */
const FINAL_READ_MS = 2_000;

export interface SessionOptions {
  readonly provisioner: Provisioner;
  readonly log: Log;
  /** Shared by all sessions: it counts faults of their kernels. */
  readonly faults: Faults;
  readonly journal: Omit<JournalOptions, "log" | "gap">;
  /** Default: no listener. */
  readonly telemetry?: Telemetry;
  /** Called at every change of status or policy. */
  readonly changed?: (session: Session) => void;
  /** Set for a session that outlives the server. It has what an earlier process wrote. */
  readonly store?: SessionStore | undefined;
  /** A session of an earlier process reads its journal again, and attaches to its kernel, after this. Default: at once. */
  readonly restoreAfter?: Promise<unknown> | undefined;
  /** How often a session that outlives the server writes a checkpoint. */
  readonly checkpointPace?: CheckpointPace | undefined;
}

/** Why a session is `offline` until it is attached to its kernel again. */
const RESTORING = "restoring";

export class Session {
  readonly spec: SessionSpec;
  #labels: Labels;
  #documents: readonly SavedDocument[] = [];
  readonly journal: Journal;
  readonly ownership: Ownership;
  /** Clients of Jupyter's protocols. */
  readonly jupyterClients: JupyterClients;
  readonly displays = noDisplays();
  readonly comms = noComms();
  readonly created: Date;
  /** The last sample of the usage watch; kept after an exit. */
  resource_usage: ResourceUsage | undefined;
  readonly #options: SessionOptions;
  readonly #telemetry: Telemetry;
  readonly #ended = new AbortController();
  readonly #requests: Requests;
  readonly #checkpoints: CheckpointWriter | undefined;
  /** What the journal's events say; `undefined` while those of an earlier process are read. */
  #facts: Facts | undefined = noFacts();
  #status: SessionStatus = "uninitialized";
  #statusReason: string | null = null;
  /** When the present status began, by the monotonic clock. */
  #since = performance.now();
  /** The state that operations request. The status follows only from events of the kernels. */
  #desired: "stopped" | "running" | "restarted" = "stopped";
  /** The last run, or the present one. */
  #run: Run | undefined;
  /** How the last run, or the present one, was started. */
  #origin: "start" | "adopt" | "autorestart" = "start";
  /** The times of automatic restarts since a client last started the kernel. */
  readonly #restarts: number[] = [];
  #policy: SessionPolicy;
  #limits: SessionLimits;
  /** When a client last used the kernel, by the monotonic clock. */
  #usedAt = performance.now();
  /** When the last run ended, if it has. */
  #endedAt: Date | undefined;
  /** When the last client left an earlier server; at the latest when this one took the session over, or made it. */
  #leftBefore = new Date();
  /** When the last client left, as it is written down. */
  #savedUse = 0;
  /** Why the server ends the kernel, if no client requested it. */
  #endReason: string | undefined;
  #closeReason: string | undefined;
  #lastExit: Exit | undefined;
  #env: readonly VarAction[];
  #workingDirectory: string;
  #environment: Readonly<Record<string, string>> = {};
  #info: Readonly<Record<string, unknown>> = {};
  #connection: ConnectionInfo | undefined;
  /** Counts the kernel runs, from 1. */
  #runNumber = 0;
  /** By which a keeper knows the last run and the one before it. */
  readonly #runIds = new Map<number, string>();
  /** Environment variables whose values the earlier process did not write down. */
  #missingVariables: readonly string[] = [];
  /** The present attempt to attach to the kernel of an earlier process. */
  #restoring: Promise<void> | undefined;

  constructor(spec: SessionSpec, options: SessionOptions) {
    const { store } = options;
    const saved = store?.saved;
    this.spec = spec;
    this.ownership = new Ownership(store?.positions);
    this.jupyterClients = new JupyterClients(store?.positions);
    this.#labels = saved?.labels ?? spec.labels;
    this.created = saved === undefined ? new Date() : new Date(saved.created);
    this.#policy = saved?.policy ?? spec.policy;
    this.#limits = spec.limits ?? NO_LIMITS;
    this.#options = options;
    expectMany(this.#ended.signal); // one for each reader
    this.#env = spec.env;
    this.#workingDirectory = saved?.working_directory ?? spec.working_directory;
    this.#telemetry = options.telemetry ?? {};
    const { session_id } = spec;
    const { gap } = this.#telemetry;
    this.journal = new Journal({
      ...options.journal,
      log: options.log,
      ...(gap !== undefined && {
        gap: (from, to) => gap({ session_id, from, to }),
      }),
      ...(store !== undefined && {
        directory: () => store.directory,
        kept: {
          id: store.journal_id,
          found: store.found,
          earlier: store.earlier,
          written: (mark) => this.#written(mark),
          durable: (isDurable) => store.durable(isDurable),
        },
      }),
    });
    this.#requests = new Requests({
      session_id: spec.session_id,
      username: spec.username,
      workspace_id: spec.workspace_id,
      journal: this.journal,
      comms: this.comms,
      log: options.log,
      telemetry: this.#telemetry,
      onIdleMissing: () => this.#run?.assumeIdle(),
      store,
    });
    this.#checkpoints = this.#checkpointWriter();
    if (saved === undefined) this.#save();
    else this.#restore(saved);
  }

  get id(): string {
    return this.spec.session_id;
  }
  get status(): SessionStatus {
    return this.#status;
  }
  /** Why the session has its status, if there is a reason to report. */
  get statusReason(): string | null {
    return this.#statusReason;
  }
  /** Whether the session has no kernel and none is requested: it was never started, or was shut down. */
  get isStopped(): boolean {
    return !this.isRunning && this.#isDesired("stopped");
  }
  /** Whether the server started the kernel automatically after the earlier one had died. */
  get isAutorestarted(): boolean {
    return this.isRunning && this.#origin === "autorestart";
  }
  get labels(): Labels {
    return this.#labels;
  }
  set labels(labels: Labels) {
    this.#labels = labels;
    this.#save();
  }
  /** The documents of Jupyter's clients that use it. */
  get documents(): readonly SavedDocument[] {
    return this.#documents;
  }
  set documents(documents: readonly SavedDocument[]) {
    this.#documents = documents;
    this.#save();
  }
  get policy(): SessionPolicy {
    return this.#policy;
  }
  set policy(policy: SessionPolicy) {
    this.#policy = policy;
    this.#save();
    this.#options.changed?.(this);
  }
  /** What its kernel may use at most. */
  get limits(): SessionLimits {
    return this.#limits;
  }
  /** Whether the session and its kernel outlive the server. */
  get isKept(): boolean {
    return this.#options.store !== undefined;
  }
  /** Whether what an earlier process wrote was taken over completely. */
  get isRestored(): boolean {
    return this.#restoring === undefined;
  }
  /** Resolves when the session is attached to its kernel again, or the kernel is known to be gone; `undefined` if nothing is being restored. Never rejects. */
  get restored(): Promise<void> | undefined {
    return this.#restoring;
  }
  /** When the kernel was last used: milliseconds of the monotonic clock. */
  get usedAt(): number {
    const { journal, ownership } = this;
    return Math.max(this.#usedAt, journal.leftAt, ownership.leftAt);
  }
  /** Whether the kernel is unused, by the rules of the session's policy. */
  get isUnused(): boolean {
    const { cull_busy, cull_connected } = this.#policy;
    if (!this.isRunning || this.isRestarting) return false;
    if (this.#status === "starting" || this.#origin === "adopt") return false;
    if (this.#run?.isStopping === true) return false;
    if (!cull_connected && this.#isConnected) return false;
    return cull_busy || !this.#isBusy;
  }
  /** When the kernel ended that will not come back by itself; `undefined` while one runs or is requested, or if none ever ran. */
  get endedAt(): Date | undefined {
    return this.#status === "exited" && !this.isRestarting
      ? this.#endedAt
      : undefined;
  }
  /** Since when no client has been attached; `undefined` while one is. Not before the start of this server, unless the kernel had ended. */
  get detachedAt(): Date | undefined {
    if (this.#isConnected) return undefined;
    const { journal, ownership } = this;
    const left = Math.max(journal.leftAt, ownership.leftAt);
    if (left === -Infinity) return this.#leftBefore;
    return new Date(Math.round(Date.now() - performance.now() + left));
  }
  /** Bytes of a kept session's files; 0 for another one. Throws a system error. */
  get storedBytes(): number {
    return this.#options.store?.bytes ?? 0;
  }
  /** How long the session has had its present status. Sleep of the machine does not count if the system's monotonic clock leaves it out. */
  get statusAge_ms(): number {
    return performance.now() - this.#since;
  }
  /** How the process of the last run ended; `undefined` if none ran. */
  get lastExit(): Exit | undefined {
    return this.#lastExit;
  }
  get startedAt(): Date {
    return this.#run?.started ?? this.created;
  }
  get isRunning(): boolean {
    return isRunning(this.#status);
  }
  /** Whether the kernel is being replaced. Messages that arrive on shell meanwhile are for the next kernel. */
  get isRestarting(): boolean {
    return this.#isDesired("restarted");
  }
  /** The process id of the kernel that runs or is starting. */
  get pid(): number | undefined {
    return this.#run?.launched?.pid;
  }
  /** The process id of the keeper that holds the kernel, if one does. */
  get keeperPid(): number | undefined {
    return this.#run?.kernel?.keeperPid;
  }
  get connectionFile(): string | undefined {
    return this.#run?.launched?.connection_file;
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
  get queue(): ExecutionQueue {
    return this.#requests.queue;
  }
  get executions(): Executions {
    return this.#requests.executions;
  }
  get history(): History {
    return this.#requests.history;
  }
  /** Aborts when the session is gone: its readers have read everything, or their time is over. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }
  /** Why the server disconnects readers; set once the session ends. */
  get closeReason(): string | undefined {
    return this.#closeReason;
  }

  /** Launches the kernel and waits for its first answer, which it resolves to. */
  async start(): Promise<KernelInfo> {
    if (!this.isRestored) await this.#untilRestored();
    this.#assertNotRestarting();
    if (!this.isRunning) {
      this.#assertCommand();
      this.#assertVariables();
    }
    return this.#launch();
  }

  /** Connects to a kernel that another program started; resolves to its first answer. */
  async adopt(connection: ConnectionInfo): Promise<KernelInfo> {
    if (!this.isRestored) await this.#untilRestored();
    this.#assertNotRestarting();
    return this.#begin("adopt", (hooks, signal) =>
      this.#options.provisioner.adopt(
        this.#recipe(),
        connection,
        hooks,
        signal,
      ),
    );
  }

  /**
   * Stops the kernel and starts a new one, in another directory or environment
   * if the caller gives one. Messages that are sent on shell from now on are for
   * the new kernel. If no new kernel starts, they are answered as aborted.
   */
  async restart({
    working_directory,
    env,
  }: {
    working_directory?: string | undefined;
    env?: readonly VarAction[] | undefined;
  }): Promise<void> {
    if (!this.isRestored) await this.#untilRestored();
    if (this.#isDesired("restarted")) {
      const why = "it is being restarted already";
      throw failure("restart_failed", { session_id: this.id, why });
    }
    this.#assertCommand(); // before an adopted kernel is ended for nothing
    if (env === undefined || env.length === 0) this.#assertVariables();
    else {
      this.#env = env;
      this.#missingVariables = [];
    }
    this.#desired = "restarted";
    this.#noteDirectory(
      working_directory === undefined || working_directory === ""
        ? this.#run?.kernel?.workingDirectory()
        : working_directory,
    );
    this.#requests.hold();
    try {
      await this.#stopped(true);
      if (this.#isDesired("stopped")) {
        const why = "it was shut down meanwhile";
        throw failure("restart_failed", { session_id: this.id, why });
      }
      await this.#launch();
    } catch (error) {
      const reason = this.#isDesired("stopped") ? "shutdown" : "start_failed";
      this.#requests.giveUp(reason, reasonOf(error));
      throw error;
    } finally {
      if (this.#isDesired("restarted")) this.#desired = "running";
    }
  }

  /** Asks the kernel to shut down, then terminates it, then kills it. Resolves when the kernel is gone. */
  async shutDown(): Promise<void> {
    if (!this.isRestored) await this.#untilRestored();
    if (!this.isRunning) {
      throw failure("session_not_running", { session_id: this.id });
    }
    this.#desired = "stopped";
    await this.#stopped(false);
  }

  /** Shuts the kernel down because no client uses it. Clients get `why` as the reason. */
  async cull(why: string): Promise<void> {
    this.#endReason = why;
    try {
      await this.shutDown();
    } finally {
      this.#endReason = undefined;
    }
  }

  /** Ends the kernel's whole process tree. Does not wait until it is gone. */
  async kill(): Promise<void> {
    if (!this.isRestored) await this.#untilRestored();
    if (this.#status === "exited") {
      throw failure("session_not_running", { session_id: this.id });
    }
    this.#requests.drop("shutdown");
    if (this.#run === undefined) {
      throw failure("no_process", { session_id: this.id });
    }
    if (this.#isDesired("running")) this.#desired = "stopped";
    await this.#run.kill();
  }

  /** Interrupts the running code; waiting requests are dropped. */
  async interrupt(): Promise<void> {
    if (!this.isRestored) await this.#untilRestored();
    const kernel = this.#run?.kernel;
    if (kernel === undefined) {
      const why =
        this.#status === "starting"
          ? "its kernel is still starting"
          : "it has no running kernel";
      throw failure("interrupt_failed", { session_id: this.id, why });
    }
    await this.#requests.interruptAll(kernel);
    // A client that waits for the effect gets a status even if there was nothing to interrupt.
    if (this.#status !== "busy" && this.isRunning) {
      this.#publish({
        kind: "status",
        status: this.#status,
        reason: "interrupt",
      });
    }
  }

  /** Opens a connection to a TCP port on which a process of its kernel listens. Throws `session_not_running` or `port_unreachable`. */
  async forward(port: number): ReturnType<Kernel["forward"]> {
    if (!this.isRestored) await this.#untilRestored();
    const kernel = this.#run?.kernel;
    if (kernel === undefined) {
      throw failure("session_not_running", { session_id: this.id });
    }
    return kernel.forward(port);
  }

  /** Changes what its kernel may use, at once if it runs. Throws `bad_configuration` if that is not possible; then nothing has changed. */
  async setLimits(change: LimitsChange): Promise<void> {
    if (!this.isRestored) await this.#untilRestored();
    if (this.#run?.isOver === false) {
      const { kernel } = this.#run;
      if (kernel === undefined) {
        const why = `The limits of session ${this.id} cannot be changed while its kernel starts`;
        throw failure("bad_configuration", { why });
      }
      await kernel.resize(change);
    }
    this.#limits = { ...this.#limits, ...change };
    this.#save();
    this.#options.changed?.(this);
  }

  /** The addresses of the kernel, or of the next kernel. */
  async connectionInfo(): Promise<ConnectionInfo> {
    this.#connection ??=
      this.#run?.kernel?.connection ??
      (await this.#options.provisioner.reserve(this.#recipe()));
    return this.#connection;
  }

  /**
   * client → kernel, in order on each channel. Until the kernel is ready,
   * messages wait for it. False for a `msg_id` that was accepted before: it is
   * not sent again. `by`: the caller. Default: the server itself.
   */
  send(message: Message, by?: Principal): boolean {
    // A client that shuts the kernel down during a restart cancels the restart.
    if (this.#run?.isStopping === true && isShutdown(message)) {
      this.#desired = "stopped";
    }
    const isNew = this.#requests.send(message, this.#canWait(message), { by });
    this.#sent(message);
    return isNew;
  }

  /** Whether a message with this id was accepted before, as far as ids are remembered. */
  hasAccepted(msg_id: string): boolean {
    return this.#requests.hasAccepted(msg_id);
  }

  /** Sends an execute request whose code may take `deadline_ms` from now on. A request that was accepted before returns the earlier execution; throws `execution_not_found` if that is no longer kept. */
  execute(
    message: Message,
    deadline_ms: number | undefined,
    by?: Principal,
  ): Execution {
    const canWait = this.#canWait(message);
    this.#requests.send(message, canWait, { by, deadline_ms });
    this.#sent(message);
    return this.executions.get(message.header.msg_id);
  }

  /** Removes a waiting execution from the queue. Throws `execution_state`. */
  cancel(execution: Execution): void {
    this.#requests.cancel(execution, "cancelled");
  }

  /** Interrupts one execution. Throws `execution_state`, `interrupt_failed`. */
  interruptExecution(execution: Execution): Promise<void> {
    return this.#requests.interrupt(execution, "interrupt");
  }

  /** Answers the input request of an execution. Throws `execution_state`, `kernel_unreachable`. */
  answer(execution: Execution, answer: InputAnswer): void {
    this.#requests.answer(execution, answer);
  }

  /** Sends a request and resolves with its reply. Throws `no_answer`, `kernel_exited`, `session_not_running`. */
  async request(
    request: Message,
    timeout_ms: number,
    by?: Principal,
  ): Promise<Entry> {
    if (!this.isRunning && !this.isRestarting) {
      throw failure("session_not_running", { session_id: this.id });
    }
    const canWait = this.#canWait(request);
    this.#sent(request);
    return this.#requests.request(request, canWait, timeout_ms, by);
  }

  /** Appends a usage sample to the journal. */
  sampled(usage: ResourceUsage): void {
    this.resource_usage = usage;
    this.#publish({ kind: "resource_usage", usage });
  }

  /**
   * Ends the kernel and everything else that belongs to the session. Attached
   * clients receive the final messages before they are disconnected with `reason`,
   * unless they take more than two seconds.
   */
  async dispose(reason = "the session was deleted"): Promise<void> {
    // Otherwise nothing would end a kernel that it is not attached to yet.
    if (!this.isRestored) await this.#untilRestored().catch(() => {});
    this.#desired = "stopped";
    this.#closeReason = reason;
    if (this.isRunning) {
      await this.#stopped(false).catch((error: unknown) =>
        this.#options.log.error(
          { err: error, session: this.id },
          "The kernel could not be stopped",
        ),
      );
    }
    this.#options.provisioner.release(this.id);
    this.#requests.giveUp("shutdown", reason);
    this.#requests.dispose();
    await this.journal.end(FINAL_READ_MS);
    this.#ended.abort();
    await this.#checkpoints?.close();
    await this.journal[Symbol.asyncDispose]();
    this.#options.store?.remove();
  }

  /** Ends the readers, and leaves a kept session to the next server: its kernel goes on. */
  async letGo(reason: string): Promise<void> {
    this.#closeReason = reason;
    if (!this.isRestored) this.#run?.end(); // that it is not attached says nothing of the kernel
    this.#requests.dispose();
    await this.journal.end(0); // readers go on with the next server
    this.#ended.abort();
    this.#save();
    await this.#checkpoints?.close();
    await this.journal.letGo();
    this.#options.store?.close();
  }

  /** Writes down when the last client left a session whose kernel has ended, if that has changed. */
  saveUse(): void {
    const { endedAt, detachedAt = new Date() } = this;
    if (endedAt === undefined) return;
    if (detachedAt.getTime() > this.#savedUse + USE_MS) this.#save();
  }

  /** Takes over what an earlier process wrote. The session is `offline` until it is attached to its kernel again. */
  #restore(saved: SavedSession): void {
    const { run, isRunning: wasRunning, desired } = saved;
    this.#documents = saved.documents ?? [];
    this.#desired = desired === "restarted" ? "running" : desired;
    this.#info = saved.info;
    this.#runNumber = run?.number ?? 0;
    if (run !== null) this.#runIds.set(run.number, run.id);
    this.#origin = run?.origin ?? "start";
    this.#missingVariables = saved.missing_variables;
    this.#facts = undefined;
    const { last } = this.journal;
    if (this.#options.store?.hasLost === true) {
      const text =
        "The end of the journal was lost: the disk was full when the server ended\n";
      this.#publish({ kind: "output", stream: "stderr", text });
    }
    if (!wasRunning && run !== null) {
      const { ended, detached = ended } = saved;
      if (ended !== undefined) this.#endedAt = new Date(ended);
      if (detached !== undefined) this.#leftBefore = new Date(detached);
      this.#endedAt ??= this.#leftBefore; // an earlier version wrote neither
    }
    if (wasRunning) this.#setRestoring();
    else if (run !== null) this.#status = "exited";
    this.#restoring = this.#reattach(saved, last)
      .catch((error: unknown) => {
        this.#options.faults.caught("A session could not be restored", error, {
          session: this.id,
        });
      })
      .finally(() => (this.#restoring = undefined));
  }

  #setRestoring(): void {
    this.#status = "offline";
    this.#statusReason = RESTORING;
    this.#publish({ kind: "status", status: "offline", reason: RESTORING });
  }

  async #reattach({ run: last }: SavedSession, until: number): Promise<void> {
    const { journal } = this;
    const requests = this.#requests;
    await this.#options.restoreAfter;
    if (this.closeReason !== undefined) return; // it was left to the next server meanwhile
    const found = await this.#replay(until);
    this.resource_usage = found.usage;
    this.#lastExit = found.exit;
    requests.replayed();
    if (last === null || this.#closeReason !== undefined) return;
    // The end of the run may be saved, and not be in the journal yet.
    if (this.#status === "exited" && isRunning(found.status ?? "exited")) {
      this.#setRestoring();
    }
    if (this.#status !== "offline") return;
    const run = this.#newRun();
    run.assume(found.state, new Date(last.started));
    this.#run = run;
    const { mark } = journal;
    const after = mark.run === last.number ? mark.event : 0;
    const recipe = { ...this.#recipe(), resume: { after } };
    const { provisioner } = this.#options;
    try {
      const kernel = await run.begin((hooks, signal) =>
        provisioner.launch(recipe, hooks, signal),
      );
      this.#assertRuns(run);
      this.#connection = kernel.connection;
      this.#info = kernelInfoIn(kernel.info);
      requests.reconnected(kernel);
      if (!run.isSilent) {
        this.#apply(run.executionState ?? "answer", "restored");
      }
    } catch (error) {
      if (!run.end()) return; // its exit was in its events
      const why = whyLost(error);
      this.#exited({ exit_code: -1, signal: null, output: "", why });
    }
  }

  /** Returns what the events of earlier processes say. */
  async #replay(until: number): Promise<Facts> {
    const { checkpoints } = this.#options.store ?? {};
    const target = { ...this.#derived, journal: this.journal };
    const { facts, bytes } = await restoreState(
      target,
      until,
      checkpoints?.found(),
    );
    this.#facts = { ...facts }; // meanwhile this process has told only that the session is offline
    this.#checkpoints?.restored(bytes);
    return facts;
  }

  get #derived(): Derived {
    const { displays, comms } = this;
    return { displays, comms, requests: this.#requests };
  }

  #checkpointWriter(): CheckpointWriter | undefined {
    const { store, journal, checkpointPace: pace } = this.#options;
    if (store?.checkpoints === undefined) return undefined;
    return new CheckpointWriter({
      journal: this.journal,
      checkpoints: store.checkpoints,
      limit: Math.min(journal.disk, journal.diskBudget.limit),
      take: () =>
        this.#facts &&
        takeCheckpoint(this.journal.next - 1, this.#facts, this.#derived),
      pace,
    });
  }

  /** The journal has written everything up to this mark. */
  #written({ run, event }: Mark): void {
    const run_id = this.#runIds.get(run);
    if (run_id !== undefined) {
      this.#options.provisioner.acknowledge?.(run_id, event);
    }
    if (this.#facts !== undefined) this.#checkpoints?.written();
  }

  /** Throws `kernel_unreachable` if it takes too long. */
  async #untilRestored(): Promise<void> {
    if (this.#restoring === undefined) return;
    await within(this.#restoring, LONGEST_RESTORE_MS);
    if (this.isRestored) return;
    const why = "it is still being restored after a restart of the server";
    throw failure("kernel_unreachable", { session_id: this.id, why });
  }

  /** Writes down what must outlive the server. */
  #save(): void {
    const { spec, created, labels, policy, endedAt } = this;
    const id = this.#runIds.get(this.#runNumber);
    const detached = this.detachedAt ?? new Date();
    this.#savedUse = detached.getTime();
    const use = endedAt && {
      ended: endedAt.toISOString(),
      detached: detached.toISOString(),
    };
    this.#options.store?.save({
      spec: { ...spec, env: this.#env, limits: this.#limits },
      missing_variables: this.#missingVariables,
      created: created.toISOString(),
      labels,
      documents: this.#documents,
      policy,
      working_directory: this.#workingDirectory,
      run:
        id === undefined
          ? null
          : {
              number: this.#runNumber,
              id,
              origin: this.#origin,
              started: this.startedAt.toISOString(),
            },
      isRunning: this.isRunning,
      desired: this.#desired,
      ...use,
      info: this.#info,
    });
  }

  async #begin(
    trigger: "start" | "adopt" | "autorestart",
    bring: KernelStarter,
  ): Promise<KernelInfo> {
    if (this.#closeReason !== undefined) {
      throw failure("session_not_found", { session_id: this.id });
    }
    const isRequested = trigger !== "autorestart";
    const cause = isRequested ? `${trigger} API called` : trigger;
    if (!this.#apply(trigger, cause)) {
      throw failure("session_running", { session_id: this.id });
    }
    this.#origin = trigger;
    if (isRequested) this.#restarts.length = 0;
    if (!this.#isDesired("restarted")) this.#desired = "running";
    this.#runIds.delete(this.#runNumber - 1); // long over
    this.#runNumber += 1;
    if (this.isKept) this.#runIds.set(this.#runNumber, newRunId());
    const run = this.#newRun();
    this.#run = run;
    this.#lastExit = undefined;
    try {
      const kernel = await run.begin(async (hooks, signal) => {
        if (this.isKept) await this.#saveRun();
        return bring(hooks, signal);
      });
      this.#assertRuns(run);
      this.#connection = kernel.connection;
      const info = kernelInfoIn(kernel.info);
      this.#info = info;
      this.#save();
      this.#apply("answer", null);
      // The kernel may have reported its state before its first answer.
      if (run.executionState !== undefined) {
        this.#apply(run.executionState, PROBE);
      }
      if (run.isSilent) this.#heartbeat(false); // the heartbeat stopped before the status could show it
      this.#requests.connected(kernel);
      this.#telemetry.kernelStarted?.({
        ...this.#named,
        by: trigger,
        duration_ms: Date.now() - run.started.getTime(),
      });
      return info;
    } catch (error) {
      // No process ran that could exit, so there is no exit event.
      if (run.end()) {
        const outcome = this.#exitOutcome();
        this.#finish(`${reasonOf(error)}${outcome.note}`);
        this.#startAgain(outcome, reasonOf(error));
      }
      if (this.#run === run) this.#requests.notStarted(reasonOf(error));
      throw error;
    }
  }

  /** The kernel may exit between its first answer and the turn of whoever waited for that. */
  #assertRuns(run: Run): void {
    if (!run.isOver) return;
    const why = "right after its first answer";
    throw failure("exited_during_start", { session_id: this.id, why });
  }

  /** The run before is written completely; then the new one is written down, before its kernel runs, so that the next server finds it. */
  async #saveRun(): Promise<void> {
    await this.journal.flushed();
    this.#save();
    this.journal.mark = { run: this.#runNumber, event: 0 };
  }

  #launch(trigger: "start" | "autorestart" = "start"): Promise<KernelInfo> {
    return this.#begin(trigger, (hooks, signal) =>
      this.#options.provisioner.launch(this.#recipe(), hooks, signal),
    );
  }

  /** A session without a command can only adopt a kernel. */
  #assertCommand(): void {
    if (this.spec.argv.length > 0) return;
    const why = "its `argv` is empty: give `argv`, or adopt a kernel that runs";
    throw failure("start_failed", { session_id: this.id, why });
  }

  /** After a restart of the server, a kernel is not started without the variables that its client gave. */
  #assertVariables(): void {
    if (this.#missingVariables.length === 0) return;
    const names = this.#missingVariables.join(", ");
    const why = `the values of ${names} were not kept when the server ended: restart the session with \`env\`, or run the server with --keep-env`;
    throw failure("start_failed", { session_id: this.id, why });
  }

  #assertNotRestarting(): void {
    if (this.isRestarting) {
      throw failure("session_running", { session_id: this.id });
    }
  }

  #newRun(): Run {
    const number = this.#runNumber;
    const hooks: RunHooks = {
      launched: ({ environment, working_directory }) => {
        this.#environment = environment;
        this.#noteDirectory(working_directory);
      },
      state: (state, reason) => this.#receivedState(state, reason),
      message: (message, isIdle) => this.#received(message, isIdle),
      burst: (burst) => this.#receivedBurst(burst),
      tooLarge: (channel, size) => {
        this.#countRefused("too_large");
        this.#publish({
          kind: "refused",
          channel,
          msg_type: null,
          parent_id: null,
          reason: "too_large",
          size,
        });
        if (channel === "stdin") this.#requests.inputRequestRefused(); // a kernel sends only input requests on stdin
      },
      refused: (refusal) => this.#refused(refusal),
      caughtUp: () => this.journal.backpressure(),
      output: (stream, text) => this.#publish({ kind: "output", stream, text }),
      registered: (connection) =>
        this.#publish({ kind: "handshake", session_id: this.id, connection }),
      heartbeat: (beats) => this.#heartbeat(beats),
      exited: (exit) => this.#exited(exit),
      noted: (event) => {
        if (this.journal.mark.run > number) return;
        this.journal.mark = { run: number, event };
      },
      lost: (from, to) => {
        const text = `${to - from + 1} messages of the kernel were lost\n`;
        this.#publish({ kind: "output", stream: "stderr", text });
        this.#requests.eventsLost();
      },
    };
    return new Run(this.id, hooks, this.#options.faults);
  }

  #recipe(): Recipe {
    const { spec } = this;
    return {
      ...spec,
      run_id: this.#runIds.get(this.#runNumber),
      env: this.#env,
      limits: this.#limits,
      working_directory: this.#workingDirectory,
      connection: this.#connection,
      timeout_ms:
        spec.connection_timeout < 0
          ? undefined
          : spec.connection_timeout * 1000,
    };
  }

  get #named(): SessionNamed {
    return { session_id: this.id, kernel_name: this.spec.kernel_name ?? null };
  }

  /** kernel → journal */
  #received(message: Message, isIdle: boolean): void {
    const { message: countMessage } = this.#telemetry;
    countMessage?.(this.id, "from_kernel", message.channel, sizeOf(message));
    this.#requests.noteParent(message.parent_header?.msg_id);
    const entry = this.journal.append(message);
    noteDisplay(this.displays, entry, message.raw.content);
    noteComm(this.comms, message, "iopub");
    this.#requests.received(message, entry, isIdle);
  }

  /** The same for many messages. */
  #receivedBurst(burst: Burst): void {
    const { message: countMessage } = this.#telemetry;
    if (countMessage !== undefined) {
      for (let index = 0; index < burst.count; index += 1) {
        countMessage(
          this.id,
          "from_kernel",
          "iopub",
          frameBytesIn(burst, index),
        );
      }
    }
    this.#requests.noteParent(burst.parent_id);
    const range = this.journal.appendBurst(burst);
    noteDisplays(this.displays, burst);
    this.#requests.receivedBurst(burst, range);
  }

  /** The refusal is appended to the journal in place of the message. */
  #refused(refusal: Refusal): void {
    const { channel, msg_type, parent, reason, size } = refusal;
    const parent_id = parent?.header.msg_id ?? null;
    this.#requests.noteParent(parent?.header.msg_id);
    const { seq } = this.#publish({
      kind: "refused",
      channel,
      msg_type,
      parent_id,
      reason,
      size,
    });
    this.#countRefused(reason);
    this.#requests.refused(refusal, seq);
  }

  #countRefused(reason: string): void {
    const session_id = this.id;
    this.#telemetry.refused?.({ session_id, from: "kernel", reason });
  }

  #receivedState(state: ShellState, reason: string | null): void {
    this.#apply(state, reason);
    if (state === "idle" && reason === "execute_request") {
      this.#noteDirectory(this.#run?.kernel?.workingDirectory());
    }
  }

  /** Without a kernel, a message waits for the next one, unless it was meant for the kernel that is gone. */
  #canWait({ channel }: Message): boolean {
    if (this.#status === "starting" || channel === "shell") return true;
    return channel === "stdin" && this.isRunning;
  }

  #heartbeat(beats: boolean): void {
    if (!beats) this.#apply("silence", "lost heartbeat");
    else if (this.#status === "offline") {
      this.#apply(
        this.#run?.executionState ?? "answer",
        "heartbeat detected after offline",
      );
    }
  }

  #exited(exit: Exit): void {
    const { exit_code, signal, output, why, oom, limit } = exit;
    this.#lastExit = exit;
    const how = describeExit(exit);
    const isTimeUp = limit === "run_time";
    const endReason = this.#endReason ?? (isTimeUp ? why : undefined);
    const isAsked = !this.#isDesired("running") && endReason === undefined;
    const reason = endReason ?? why ?? `child process exited: ${how}`;
    // An automatic start would be a way around the limit.
    const outcome = isTimeUp ? STAYS_EXITED : this.#exitOutcome();
    const message =
      endReason === undefined
        ? `The kernel died: ${why ?? how}`
        : `The kernel was shut down: ${endReason}`;
    this.#requests.disconnected(
      how,
      isAsked ? undefined : `${message}${outcome.note}`,
    );
    this.comms.clear();
    this.#options.log.info({ session: this.id }, `Kernel exited: ${how}`);
    this.#finish(`${reason}${outcome.note}`);
    this.#publish({
      kind: "exited",
      exit_code,
      signal,
      output,
      ...(oom !== undefined && { oom }),
      ...(limit !== undefined && { limit }),
    });
    this.#startAgain(outcome, reason);
  }

  /** Decides whether to start an exited kernel again. A failed start that a client waits for is not repeated, because the client can repeat it. */
  #exitOutcome(): ExitOutcome {
    const { autorestart } = this.#policy;
    if (autorestart === null || !this.#isDesired("running"))
      return STAYS_EXITED;
    const isAwaited = this.#status === "starting";
    if (isAwaited && this.#origin !== "autorestart") return STAYS_EXITED;
    if (this.#origin !== "adopt") return takeStart(this.#restarts, autorestart);
    return {
      ...STAYS_EXITED,
      note: "; it is not started again: it was adopted",
    };
  }

  /** The run is over, and its end is in the journal. */
  #startAgain({ isStartedAgain, note }: ExitOutcome, reason: string): void {
    if (isStartedAgain) {
      this.#launch("autorestart").catch((error: unknown) =>
        this.#options.log.warn(
          { err: error },
          "The kernel could not be started again",
        ),
      );
    } else if (this.#origin === "autorestart" && note !== "") {
      this.#requests.giveUp("start_failed", `${reason}${note}`);
    }
  }

  /** The run is over. */
  #finish(reason: string): void {
    this.#connection = undefined;
    this.#options.provisioner.release(this.id);
    this.#endedAt = new Date();
    this.#apply("exit", reason);
    this.#save();
    this.#telemetry.kernelEnded?.({
      ...this.#named,
      reason,
      duration_ms: Date.now() - this.startedAt.getTime(),
    });
  }

  /** Ends the kernel, if there is one. Resolves when it is gone. */
  async #stopped(isForRestart: boolean): Promise<void> {
    this.#requests.drop("shutdown");
    const stop = this.#run?.stop(isForRestart);
    // Until the kernel is gone, the session is busy, so that clients do not use it as idle.
    if (this.#run?.isStopping === true && this.#status !== "offline") {
      this.#apply("busy", "shutdown_request");
    }
    try {
      await stop;
    } catch (error) {
      const state = this.#run?.executionState;
      if (state !== undefined) this.#apply(state, "it could not be ended");
      throw error;
    }
  }

  get #isConnected(): boolean {
    return this.journal.readers > 0 || this.ownership.isTaken;
  }

  get #isBusy(): boolean {
    const isIdle = this.#status === "idle" || this.#status === "ready";
    const { executions, queue } = this;
    return !isIdle || queue.pending.length > 0 || executions.running.length > 0;
  }

  /** Notes that a client uses the kernel. If the message ends the kernel, it is not started again. */
  #sent(message: Message): void {
    const { msg_type } = message.header;
    if (!PROBES.has(msg_type)) this.#usedAt = performance.now();
    if (isShutdown(message) && this.#isDesired("running"))
      this.#desired = "stopped";
  }

  #isDesired(what: "stopped" | "running" | "restarted"): boolean {
    return this.#desired === what;
  }

  #noteDirectory(path: string | undefined): void {
    if (path === undefined || path === this.#workingDirectory) return;
    this.#workingDirectory = path;
    this.#save();
    this.#publish({ kind: "working_directory", path });
  }

  /** The only place where the status changes. */
  #apply(trigger: Trigger, reason: string | null): boolean {
    const status = next(this.#status, trigger);
    if (status === undefined) return false;
    this.#status = status;
    this.#statusReason = reason;
    this.#since = performance.now();
    if (!PROBES.has(reason ?? "")) this.#usedAt = this.#since;
    this.#publish({ kind: "status", status, reason });
    this.#options.changed?.(this);
    return true;
  }

  #publish(event: OwnEvent): Entry {
    if (this.#facts !== undefined) noteFact(this.#facts, event);
    return this.journal.appendEvent(event);
  }
}

/** 32 hexadecimal digits. */
function newRunId(): string {
  return randomBytes(16).toString("hex");
}

/** Whether the message is a shutdown request without a restart. */
function isShutdown(message: Message): boolean {
  if (message.header.msg_type !== "shutdown_request") return false;
  return membersIn(message.raw.content).get("restart")?.toString() !== "true";
}

/** Why a session is not attached to the kernel of an earlier process again. */
function whyLost(error: unknown): string {
  const { cause, message } = error as Error;
  if (cause instanceof Error) return cause.message;
  return error instanceof SupervisorError ? reasonOf(error) : message;
}

function reasonOf(error: unknown): string {
  return error instanceof SupervisorError ? error.message : "the start failed";
}
