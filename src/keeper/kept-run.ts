/**
 * One run of a kernel in its keeper: everything that the kernel does becomes a
 * numbered event, and every command is done once.
 */
import type { Duplex } from "node:stream";
import { type ConnectionInfo, failure } from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import { concernsMainShell } from "../jupyter/control-requests.ts";
import type { Message } from "../jupyter/message.ts";
import type {
  Hooks,
  Kernel,
  Launched,
  LimitsChange,
  Provisioner,
  Recipe,
  ShellState,
} from "../kernel/kernel.ts";
import { reportedState } from "../kernel/main-shell.ts";
import type { RunProgress } from "./command.ts";
import type { EventLog } from "./event-log.ts";
import {
  type Answered,
  type Body,
  burstEvent,
  jsonEvent,
  type LaunchedFacts,
  messageEvent,
  outputEvent,
  refusedEvent,
} from "./events.ts";
import type { Numbered, RunFacts } from "./hello.ts";
import { Remembered } from "../jupyter/remembered.ts";
import { toWire } from "./wire-error.ts";

/** How many messages to the kernel are known by their `msg_id`. */
const SENT_LIMIT = 20_000;
/** How many commands are known by their id. */
const COMMANDS_LIMIT = 1_000;

export interface KeptRunOptions {
  readonly run_id: string;
  readonly recipe: Recipe;
  readonly provisioner: Provisioner;
  readonly log: EventLog;
  /** Called after each event. */
  readonly changed: () => void;
  /** Resolves when the keeper can hold more. */
  readonly relieved: () => Promise<void> | undefined;
}

export class KeptRun {
  readonly run_id: string;
  readonly session_id: string;
  readonly log: EventLog;
  /** What was answered to commands, by their ids. */
  readonly answers = new Remembered<string, Promise<Buffer[]>>(COMMANDS_LIMIT);
  readonly #options: KeptRunOptions;
  readonly #sent = new Remembered<string, true>(SENT_LIMIT);
  readonly #starting = new AbortController();
  #kill: Launched["kill"];
  #kernel: Kernel | undefined;
  #hasFailed = false;
  #launched: Numbered<LaunchedFacts> | undefined;
  #answered: Numbered<Answered> | undefined;
  #exited: Numbered<Exit> | undefined;
  #directory: string | undefined;
  #isSilent = false;
  /** When it was last busy, by the monotonic clock; `undefined` while it is. */
  #idleSince: number | undefined = performance.now();
  /** When its present code began, by the monotonic clock. */
  #busySince = performance.now();
  /** Why the keeper ends it. */
  #why: string | undefined;

  /** Starts the kernel, or connects to one that another program has started. */
  constructor(options: KeptRunOptions, connection?: ConnectionInfo) {
    const { run_id, recipe, provisioner, log } = options;
    this.run_id = run_id;
    this.session_id = recipe.session_id;
    this.log = log;
    this.#options = options;
    const hooks = this.#hooks();
    const { signal } = this.#starting;
    const start =
      connection === undefined
        ? provisioner.launch(recipe, hooks, signal)
        : provisioner.adopt(recipe, connection, hooks, signal);
    void start.then(
      (kernel) => this.#begun(kernel),
      (error: unknown) => {
        this.#hasFailed = true;
        this.#add(jsonEvent("failed", toWire(error)));
      },
    );
  }

  get facts(): RunFacts {
    return {
      run_id: this.run_id,
      session_id: this.session_id,
      oldest: this.log.oldest,
      newest: this.log.newest,
      phase: this.isOver
        ? "ended"
        : this.#kernel === undefined
          ? "starting"
          : "running",
      launched: this.#launched,
      answered: this.#answered,
      exited: this.#exited,
      directory: this.#directory,
      is_silent: this.#isSilent,
    };
  }

  /** Whether its kernel is gone, or never came. */
  get isOver(): boolean {
    return (
      this.#hasFailed ||
      (this.#answered !== undefined && this.#exited !== undefined)
    );
  }

  /** Whether it runs code. */
  get isBusy(): boolean {
    return this.#idleSince === undefined;
  }

  /** Milliseconds since its present code, or its last one, began. */
  get busy_ms(): number {
    return performance.now() - this.#busySince;
  }

  /** Milliseconds without running code; 0 while code runs. */
  get idle_ms(): number {
    if (this.#idleSince === undefined) return 0;
    return performance.now() - this.#idleSince;
  }

  /** server → kernel. A message that was sent before is not sent again. Throws `kernel_unreachable`. */
  send(message: Message): void {
    const { msg_id } = message.header;
    if (this.#sent.has(msg_id)) return;
    this.#ready().send(message);
    this.#sent.set(msg_id, true);
  }

  async progress(): Promise<RunProgress> {
    const is_receiving = (await this.#ready().isReceiving?.()) ?? false;
    return { newest: this.log.newest, is_receiving };
  }

  async isAlive(timeout_ms: number): Promise<boolean> {
    return (await this.#ready().isAlive?.(timeout_ms)) ?? true;
  }

  interrupt(): Promise<void> {
    return this.#ready().interrupt();
  }

  forward(port: number): Promise<Duplex> {
    return this.#ready().forward(port);
  }

  resize(change: LimitsChange): Promise<void> {
    return this.#ready().resize(change);
  }

  stop(restart: boolean): Promise<Exit> {
    return this.#ready().stop(restart);
  }

  async kill(): Promise<void> {
    await (this.#kernel ?? { kill: this.#kill }).kill?.();
  }

  /** Ends its start. */
  cancel(): void {
    const { session_id } = this;
    const why = "it was stopped";
    this.#starting.abort(failure("start_failed", { session_id, why }));
  }

  /** Ends the kernel because the keeper has a reason to. Resolves when it is gone. */
  async end(why: string): Promise<void> {
    this.#why = why;
    if (this.#kernel === undefined) this.cancel();
    else if (!this.isOver) await this.#kernel.stop(false);
  }

  #ready(): Kernel {
    const { session_id } = this;
    if (this.#kernel === undefined || this.isOver) {
      const why = this.isOver ? "it has ended" : "it is still starting";
      throw failure("kernel_unreachable", { session_id, why });
    }
    return this.#kernel;
  }

  #begun(kernel: Kernel): void {
    this.#kernel = kernel;
    const { connection, info, missesInterrupts: misses_interrupts } = kernel;
    const value = { connection, info, misses_interrupts };
    this.#answered = { number: this.log.newest + 1, value };
    this.#add(jsonEvent("answered", value));
  }

  #add(body: Body): number {
    const number = this.log.add(body);
    this.#options.changed();
    return number;
  }

  #hooks(): Hooks {
    return {
      launched: ({ kill, ...facts }) => {
        this.#kill = kill;
        const value = { ...facts, can_kill: kill !== undefined };
        this.#directory = facts.working_directory;
        this.#launched = { number: this.log.newest + 1, value };
        this.#add(jsonEvent("launched", value));
      },
      state: (state) => {
        this.#note(state);
        this.#add(jsonEvent("state", { state }));
      },
      message: (message) => {
        this.#observe(message);
        this.#add(messageEvent(message));
      },
      burst: (burst) => this.#add(burstEvent(burst)),
      refused: (refusal) => this.#add(refusedEvent(refusal)),
      tooLarge: (channel, size) =>
        this.#add(jsonEvent("tooLarge", { channel, size })),
      caughtUp: () => this.#options.relieved(),
      output: (stream, text) => this.#add(outputEvent(stream, text)),
      registered: (connection) =>
        this.#add(jsonEvent("registered", connection)),
      heartbeat: (beats) => {
        this.#isSilent = !beats;
        this.#add(jsonEvent("heartbeat", { beats }));
      },
      exited: (how) => {
        const exit = this.#why === undefined ? how : { ...how, why: this.#why };
        this.#note("idle");
        this.#exited = { number: this.log.newest + 1, value: exit };
        this.#add(jsonEvent("exited", exit));
      },
    };
  }

  /** Watches the state of the kernel's main shell, and where its code has moved. */
  #observe(message: Message): void {
    const { parent_header } = message;
    const state = reportedState(message);
    if (state === undefined || !concernsMainShell(parent_header)) return;
    this.#note(state);
    const isEndOfCode =
      state === "idle" && parent_header?.msg_type === "execute_request";
    if (!isEndOfCode) return;
    const path = this.#kernel?.workingDirectory();
    if (path === undefined || path === this.#directory) return;
    this.#directory = path;
    this.#add(jsonEvent("directory", { path }));
  }

  #note(state: ShellState): void {
    const now = performance.now();
    if (state === "busy") this.#busySince = now;
    this.#idleSince = state === "busy" ? undefined : now;
  }
}
