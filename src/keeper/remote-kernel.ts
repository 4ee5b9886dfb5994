/**
 * One kernel in a keeper, as its server sees it. Its events become calls of the
 * session's hooks, in order and each once.
 *
 * A session that is late, or a large message, makes only this run wait: the
 * keeper is told to hold it, and what was on the way waits here.
 */
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type ConnectionInfo,
  failure,
  type Reason,
  SupervisorError,
} from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import { indexContent } from "../jupyter/large-json.ts";
import type { Message } from "../jupyter/message.ts";
import { withRecord } from "../jupyter/record.ts";
import type { Hooks, Kernel, LimitsChange, Recipe } from "../kernel/kernel.ts";
import type { Faults } from "../log/faults.ts";
import { requestScheduler } from "../time/request-scheduler.ts";
import { within } from "../time/within.ts";
import type { Command, RunProgress } from "./command.ts";
import {
  type Answered,
  callHook,
  EventReader,
  eventKinds,
  type LaunchedFacts,
  type ReceivedEvent,
  releaseMessage,
  valueOf,
} from "./events.ts";
import { StreamError } from "./frames.ts";
import type { Numbered, RunFacts } from "./hello.ts";
import { type KeeperLink, KeeperUnreachable, type RunSink } from "./link.ts";
import { fromWire } from "./wire-error.ts";

/** Bytes. A larger message is read in short steps. */
const LARGE = 2 * 1024 * 1024;
/** How long an aborted start waits for the keeper's confirmation. */
const CANCEL_MS = 15_000;
/** How long an answer about the progress of a run may take. */
const PROGRESS_TIMEOUT_MS = 2_000;
/** How much longer than the kernel the keeper may take for an answer. */
const LATE_MS = 2_000;

export interface RemoteKernelOptions {
  readonly run_id: string;
  readonly recipe: Recipe;
  readonly hooks: Hooks;
  readonly link: KeeperLink;
  readonly faults: Faults;
}

/** What a command that does not reach the keeper fails with. */
type Unreachable = Reason &
  (
    | "start_failed"
    | "interrupt_failed"
    | "kernel_unreachable"
    | "process_not_found"
  );

type Arrival =
  | { readonly event: ReceivedEvent }
  | { readonly from: number; readonly to: number }
  | { readonly gone: string };

export class RemoteKernel implements Kernel, RunSink {
  readonly run_id: string;
  readonly exited: Promise<Exit>;
  /** Resolves when no hook will be called any more. */
  readonly over: Promise<void>;
  readonly #options: RemoteKernelOptions;
  readonly #reader = new EventReader();
  /** What arrives while the run waits. */
  readonly #arrived: Arrival[] = [];
  #received = 0;
  /** The promises that it waits for. */
  #holds = 0;
  /** What the keeper said of the run when the stream last began. */
  #facts: RunFacts | undefined;
  #launched: LaunchedFacts | undefined;
  #answered: Answered | undefined;
  #directory: string | undefined;
  /** Whether the keeper has confirmed that it has the run. */
  #isKnown = false;
  /** Whether the kernel's heartbeat is there, as far as the keeper has said. */
  #beats = true;
  /** Whether the stream is missing. */
  #isDetached = false;
  #hasExited = false;
  /** The number of the last event of all, once it has come. */
  #last: number | undefined;
  #isOver = false;
  readonly #start: Promise<void>;
  #resolveStart: () => void = () => {};
  #rejectStart: (error: unknown) => void = () => {};
  #resolveExit: (exit: Exit) => void = () => {};
  #resolveOver: () => void = () => {};

  constructor(options: RemoteKernelOptions) {
    this.#options = options;
    this.run_id = options.run_id;
    this.exited = new Promise((resolve) => (this.#resolveExit = resolve));
    this.over = new Promise((resolve) => (this.#resolveOver = resolve));
    this.#start = new Promise((resolve, reject) => {
      this.#resolveStart = resolve;
      this.#rejectStart = reject;
    });
    this.#start.catch(() => {}); // the caller that begins awaits it
  }

  get received(): number {
    return this.#received;
  }
  get isHeld(): boolean {
    return this.#holds > 0;
  }
  get pid(): number | undefined {
    return this.#launched?.pid;
  }
  get keeperPid(): number | undefined {
    return this.#options.link.pid;
  }
  get connection(): ConnectionInfo {
    return this.#given.connection;
  }
  get info(): Readonly<Record<string, unknown>> {
    return this.#given.info;
  }
  get missesInterrupts(): boolean {
    return this.#given.misses_interrupts;
  }

  /** Starts the kernel in the keeper. Resolves when it has answered. */
  async begin(
    command: Omit<Command, "id">,
    signal: AbortSignal,
  ): Promise<Kernel> {
    const { link } = this.#options;
    signal.throwIfAborted();
    link.command(command, { waitsForStream: true }).then(
      () => (this.#isKnown = true),
      (error: unknown) => {
        this.#rejectStart(this.#failure("start_failed", error));
        this.#end();
      },
    );
    link.follow(this);
    return this.#answer(signal);
  }

  /** Goes on with a run of the keeper after event `after`. Resolves when its kernel has answered. */
  async resume(after: number, signal: AbortSignal): Promise<Kernel> {
    const { link, hooks, recipe } = this.#options;
    const { session_id } = recipe;
    const facts = link.runs.get(this.run_id);
    if (
      facts === undefined ||
      (facts.phase === "ended" && facts.newest <= after)
    ) {
      this.#end();
      const why = facts === undefined ? link.whyMissing : "it has ended";
      const cause = new KeeperUnreachable(why);
      throw failure("start_failed", { session_id, why }, { cause });
    }
    this.#isKnown = true;
    this.#facts = facts;
    this.#received = after;
    this.#directory = facts.directory;
    const isPast = (fact: { readonly number: number } | undefined) =>
      fact !== undefined && fact.number <= after;
    if (isPast(facts.launched)) this.#launch(facts.launched?.value);
    if (isPast(facts.exited)) this.#hasExited = true;
    if (isPast(facts.answered)) {
      this.#answered = facts.answered?.value;
      this.#resolveStart();
    }
    if (facts.is_silent) {
      this.#beats = false;
      hooks.heartbeat(false);
    }
    link.follow(this);
    return this.#answer(signal);
  }

  send(message: Message): void {
    const { link, faults, recipe } = this.#options;
    const { session_id } = recipe;
    try {
      link.send(this.run_id, message, (error) =>
        faults.caught("A message did not reach the kernel", error, {
          session: session_id,
        }),
      );
    } catch (error) {
      throw this.#failure("kernel_unreachable", error);
    }
  }

  async isReceiving(): Promise<boolean> {
    const { link } = this.#options;
    const { run_id } = this;
    let answer: unknown;
    try {
      const asked = link.command({ verb: "progress", run_id });
      answer = await within(asked, PROGRESS_TIMEOUT_MS);
    } catch (error) {
      // Without the stream, events wait in the keeper. An older keeper does not know the command.
      return error instanceof KeeperUnreachable && !this.#isOver;
    }
    if (answer === undefined) return true; // it waits behind events
    const { newest, is_receiving } = answer as RunProgress;
    return is_receiving || newest > this.#received || this.isHeld;
  }

  async isAlive(timeout_ms: number): Promise<boolean> {
    const asked = this.#command("kernel_unreachable", {
      verb: "is_alive",
      timeout_ms,
    });
    const answer = await within(asked, timeout_ms + LATE_MS);
    if (typeof answer === "boolean") return answer;
    const { session_id } = this.#options.recipe;
    const why = "its keeper does not answer";
    throw failure("kernel_unreachable", { session_id, why });
  }

  async interrupt(): Promise<void> {
    await this.#command("interrupt_failed", { verb: "interrupt" });
  }

  async forward(port: number): Promise<Duplex> {
    const { link, recipe } = this.#options;
    try {
      return await link.forward(this.run_id, port);
    } catch (cause) {
      const isOwn =
        cause instanceof SupervisorError && cause.reason !== "internal";
      if (isOwn) throw cause;
      const { session_id } = recipe;
      const why = cause instanceof Error ? cause.message : "an error";
      throw failure("port_unreachable", { session_id, port, why }, { cause });
    }
  }

  async resize(change: LimitsChange): Promise<void> {
    const { link, recipe, hooks } = this.#options;
    try {
      await link.resize(this.run_id, change);
    } catch (cause) {
      const isOld = cause instanceof KeeperUnreachable && cause.isOld;
      if (!isOld) throw this.#failure("kernel_unreachable", cause);
      const why = `The limits of the kernel of session ${recipe.session_id} cannot be changed: ${cause.message}`;
      throw failure("bad_configuration", { why }, { cause });
    }
    hooks.resized?.(change);
  }

  async stop(restart: boolean): Promise<Exit> {
    if (this.#hasExited) return this.exited;
    await this.#command("kernel_unreachable", { verb: "stop", restart });
    return this.exited;
  }

  async kill(): Promise<void> {
    await this.#command("process_not_found", { verb: "kill" });
  }

  workingDirectory(): string | undefined {
    return this.#directory;
  }

  event(event: ReceivedEvent): void {
    if (event.number <= this.#received) return; // it was on the way when the run was followed again
    if (event.number !== this.#received + 1) {
      throw new StreamError("an event whose number does not follow");
    }
    this.#received = event.number;
    this.#arrive({ event: this.isHeld ? kept(event) : event });
  }

  gap(from: number, to: number): void {
    if (to <= this.#received) return;
    this.#received = to;
    this.#arrive({ from, to });
  }

  attached(facts: RunFacts | undefined): void {
    if (facts === undefined && this.#isKnown) {
      this.gone("its keeper does not have it any more");
      return;
    }
    this.#facts = facts;
    if (!this.#isDetached) return;
    this.#isDetached = false;
    if (this.#beats && !this.#isOver) this.#options.hooks.heartbeat(true);
  }

  detached(): void {
    if (this.#isDetached || this.#isOver || this.#answered === undefined)
      return;
    this.#isDetached = true;
    if (this.#beats) this.#options.hooks.heartbeat(false);
  }

  gone(why: string): void {
    this.#arrive({ gone: why });
  }

  /** The journal has written what the events up to this number have caused. */
  acknowledged(number: number): void {
    if (this.#last === undefined || number < this.#last) return;
    this.#options.link.retire(this.run_id);
    this.#end();
  }

  get #given(): Answered {
    if (this.#answered === undefined) throw new Error("It has not answered");
    return this.#answered;
  }

  /** Resolves when the kernel has answered. An aborted start is ended in the keeper first. */
  async #answer(signal: AbortSignal): Promise<Kernel> {
    const { link } = this.#options;
    const { run_id } = this;
    const cancel = () => {
      link
        .command({ verb: "cancel", run_id }, { waitsForStream: true })
        .catch(() => {}); // the keeper is gone
      setTimeout(() => this.#rejectStart(signal.reason), CANCEL_MS).unref();
    };
    if (signal.aborted) cancel();
    else signal.addEventListener("abort", cancel, { once: true });
    try {
      await this.#start;
      return this;
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      signal.removeEventListener("abort", cancel);
    }
  }

  async #command(
    reason: Unreachable,
    command: Omit<Command, "id" | "run_id">,
  ): Promise<unknown> {
    const { link } = this.#options;
    try {
      return await link.command({ ...command, run_id: this.run_id });
    } catch (error) {
      throw this.#failure(reason, error);
    }
  }

  /** The keeper's own failures stay as they are. */
  #failure(reason: Unreachable, error: unknown): unknown {
    if (!(error instanceof KeeperUnreachable)) return error;
    const { session_id } = this.#options.recipe;
    return failure(
      reason,
      { session_id, why: error.message },
      { cause: error },
    );
  }

  #arrive(arrival: Arrival): void {
    if (this.isHeld) this.#arrived.push(arrival);
    else this.#take(arrival);
  }

  #take(arrival: Arrival): void {
    if (this.#isOver) return;
    const { hooks } = this.#options;
    if ("gone" in arrival) this.#lost(arrival.gone);
    else if ("event" in arrival) this.#handle(arrival.event);
    else {
      hooks.lost?.(arrival.from, arrival.to);
      this.#makeUpFor(arrival);
    }
  }

  /** The oldest events are lost first. What the keeper says of the run takes the place of those that tell of its start. */
  #makeUpFor({ from, to }: { readonly from: number; readonly to: number }) {
    const { launched, answered } = this.#facts ?? {};
    const isLost = (fact: Numbered<unknown> | undefined) =>
      fact !== undefined && fact.number >= from && fact.number <= to;
    if (isLost(launched)) this.#launch(launched?.value);
    if (!isLost(answered)) {
      this.#noted(to);
      return;
    }
    this.#answered = answered?.value;
    this.#resolveStart();
    this.#hold(nextTurn().then(() => this.#noted(to))); // the caller of the start goes on first
  }

  #handle(event: ReceivedEvent): void {
    const takes = this.#deliver(event);
    if (takes === undefined) this.#noted(event.number);
    else {
      this.#hold(
        takes
          .catch((error: unknown) => this.#dropped(error))
          .then(() => this.#noted(event.number)),
      );
    }
  }

  /** All hooks of the event were called. A session that is late gets no more events for now. */
  #noted(number: number): void {
    const { hooks } = this.#options;
    hooks.noted?.(number);
    const late = hooks.caughtUp();
    if (late !== undefined) this.#hold(late);
  }

  /** A fault in one event ends that event alone. */
  #dropped(error: unknown): void {
    const { faults, recipe } = this.#options;
    const { session_id: session } = recipe;
    faults.caught("An event of a kernel was dropped", error, { session });
  }

  /** Takes nothing until the promise settles. */
  #hold(until: Promise<unknown>): void {
    if (this.#holds === 0) this.#options.link.hold(this.run_id);
    this.#holds += 1;
    const goOn = () => {
      this.#holds -= 1;
      while (!this.isHeld) {
        const arrival = this.#arrived.shift();
        if (arrival === undefined) {
          if (!this.#isOver) this.#options.link.follow(this);
          return;
        }
        this.#take(arrival);
      }
    };
    void until.then(goOn, goOn);
  }

  async #deliverLarge(event: ReceivedEvent): Promise<void> {
    let message = this.#reader.message(event);
    if (message.record === undefined) {
      message = await requestScheduler.run(withRecord(message));
    }
    await requestScheduler.run(indexContent(message));
    this.#options.hooks.message(message);
    releaseMessage(event);
  }

  /** Calls the hooks of an event; returns a promise if that takes longer. */
  #deliver(event: ReceivedEvent): Promise<void> | undefined {
    if (isMessage(event) && event.bytes.length >= LARGE) {
      return this.#deliverLarge(event);
    }
    try {
      return this.#deliverAtOnce(event);
    } catch (error) {
      this.#dropped(error);
      return undefined;
    }
  }

  #deliverAtOnce(event: ReceivedEvent): Promise<void> | undefined {
    const { hooks } = this.#options;
    const { kind, bytes, number } = event;
    switch (kind) {
      case eventKinds.message:
      case eventKinds.record:
        hooks.message(this.#reader.message(event));
        releaseMessage(event);
        return;
      case eventKinds.launched:
        this.#launch(valueOf("launched", bytes));
        return;
      case eventKinds.heartbeat:
        this.#beats = valueOf("heartbeat", bytes).beats;
        if (!this.#isDetached) hooks.heartbeat(this.#beats);
        return;
      case eventKinds.directory:
        this.#directory = valueOf("directory", bytes).path;
        return;
      case eventKinds.answered:
        this.#answered = valueOf("answered", bytes);
        if (this.#hasExited) this.#last = number;
        this.#resolveStart();
        return nextTurn(); // the caller of the start goes on first
      case eventKinds.failed:
        this.#last = number;
        this.#rejectStart(fromWire(valueOf("failed", bytes)));
        return nextTurn();
      case eventKinds.exited:
        if (this.#answered !== undefined) this.#last = number;
        this.#exit(valueOf("exited", bytes));
        return;
    }
    callHook(event, hooks);
    return undefined;
  }

  #launch(facts: LaunchedFacts | undefined): void {
    if (facts === undefined) return;
    const { can_kill, ...launched } = facts;
    this.#launched = facts;
    this.#directory ??= facts.working_directory;
    const kill = can_kill ? () => this.kill() : undefined;
    const { connection_file, pid } = launched; // JSON leaves `undefined` out
    this.#options.hooks.launched({ ...launched, connection_file, pid, kill });
  }

  #exit(exit: Exit): void {
    this.#hasExited = true;
    this.#options.hooks.exited(exit);
    this.#resolveExit(exit);
  }

  /** The keeper is gone, or does not have the run. */
  #lost(why: string): void {
    const { session_id } = this.#options.recipe;
    const exit = { exit_code: -1, signal: null, output: "", why };
    if (!this.#hasExited && this.#launched !== undefined) this.#exit(exit);
    this.#rejectStart(failure("start_failed", { session_id, why }));
    this.#end();
  }

  #end(): void {
    this.#isOver = true;
    this.#resolveOver();
  }
}

/** Its bytes are valid during the call only, unless they are its own. */
function kept(event: ReceivedEvent): ReceivedEvent {
  return event.isOwn ? event : { ...event, bytes: Buffer.from(event.bytes) };
}

function isMessage({ kind }: ReceivedEvent): boolean {
  return kind === eventKinds.message || kind === eventKinds.record;
}
