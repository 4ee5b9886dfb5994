/**
 * A keeper: it owns kernels for a server that may go and come back. It numbers
 * what they do, keeps it until the server has acknowledged it, and does what the
 * server commands once.
 *
 * One server is attached at a time. Without kernels, unacknowledged events and a
 * server it ends; see `docs/keeper.md` for all that ends it.
 */
import { hostname } from "node:os";
import type { Duplex } from "node:stream";
import { currentOwner } from "../host/owner.ts";
import type { Provisioner } from "../kernel/kernel.ts";
import type { Faults } from "../log/faults.ts";
import type { Log } from "../log/log.ts";
import { Attachment } from "./attachment.ts";
import type { Command } from "./command.ts";
import type { EventStore } from "./event-log.ts";
import { frameKinds, jsonFrame, StreamError } from "./frames.ts";
import {
  commonProtocol,
  isCompatible,
  isSameSecret,
  type KeeperHello,
  type Refused,
  type ServerHello,
  timeIn,
  versions,
} from "./hello.ts";
import { KeptRun } from "./kept-run.ts";
import { Remembered } from "../jupyter/remembered.ts";
import { toWire } from "./wire-error.ts";

export interface KeeperOptions {
  /** A server that attaches shows it. */
  readonly secret: string;
  /** What starts kernels that inherit this environment. */
  readonly provisionerOf: (
    env: Readonly<Record<string, string>>,
  ) => Provisioner;
  readonly store: EventStore;
  readonly log: Log;
  readonly faults: Faults;
  /** How long no server may be attached while no code runs. Milliseconds; `Infinity`: for ever. */
  readonly idleTimeout_ms: number;
  /** The same while code runs. Default: for ever. */
  readonly busyTimeout_ms?: number | undefined;
  /** How long a keeper without anything to keep waits for a server. Milliseconds; default: 10 s. */
  readonly emptyTimeout_ms?: number | undefined;
  /** How often these times are checked. Milliseconds; default: a minute, or less if they are short. */
  readonly check_ms?: number | undefined;
  /** Milliseconds; for tests. */
  readonly ping_ms?: number | undefined;
}

/** Streams whose peers have not shown the secret yet. */
const UNVERIFIED_LIMIT = 16;
/** How long a peer may take to say hello. */
const HELLO_TIMEOUT_MS = 5_000;
const EMPTY_TIMEOUT_MS = 10_000;
const CHECK_MS = 60_000;
const SHORTEST_CHECK_MS = 50;
const COMMANDS_LIMIT = 1_000;
/** How long a keeper that ends waits until its server has what its kernels said last. */
const LAST_WORDS_MS = 2_000;

export class Keeper {
  /** Resolves with the reason when the keeper ends. */
  readonly ended: Promise<string>;
  readonly #options: KeeperOptions;
  readonly #runs = new Map<string, KeptRun>();
  readonly #answers = new Remembered<string, Promise<Buffer[]>>(COMMANDS_LIMIT);
  readonly #unverified = new Set<Attachment>();
  /** By the environment as JSON: a server that was started anew may have another one. */
  readonly #provisioners = new Map<string, Provisioner>();
  #attached: Attachment | undefined;
  /** The highest that was accepted, and the server that had it. */
  #holder = { epoch: 0, server: "" };
  #detachedAt = performance.now();
  #emptyTimer: NodeJS.Timeout | undefined;
  #idleTimeout_ms: number;
  #busyTimeout_ms: number;
  #checkTimer: NodeJS.Timeout | undefined;
  #stopping: Promise<void> | undefined;
  #why: string | undefined;
  #resolveEnded: (why: string) => void = () => {};

  constructor(options: KeeperOptions) {
    this.#options = options;
    this.ended = new Promise((resolve) => (this.#resolveEnded = resolve));
    this.#idleTimeout_ms = options.idleTimeout_ms;
    this.#busyTimeout_ms = options.busyTimeout_ms ?? Infinity;
    this.#watchTimes();
    this.#considerEnd();
  }

  /** The highest epoch that it has accepted. */
  get epoch(): number {
    return this.#holder.epoch;
  }

  /** A stream has been opened. Its peer is unverified until it has shown the secret. */
  accept(stream: Duplex): void {
    const attachment = new Attachment(
      stream,
      {
        hello: (hello) => this.#welcome(attachment, hello),
        command: (command) => void this.#command(attachment, command),
        run: (run_id) => this.#runs.get(run_id),
        answered: (run, id, answer) =>
          void this.#answer(attachment, run, id, answer),
        acknowledged: () => this.#considerEnd(),
        forward: async (run_id, port) =>
          theRun(this.#runs.get(run_id)).forward(port),
        closed: (why) => this.#closed(attachment, why),
      },
      this.#options.ping_ms,
    );
    this.#unverified.add(attachment);
    const [oldest] = this.#unverified;
    if (this.#unverified.size > UNVERIFIED_LIMIT)
      oldest?.close("too many peers have not shown the secret");
    setTimeout(() => {
      if (this.#unverified.has(attachment)) attachment.close("no hello came");
    }, HELLO_TIMEOUT_MS).unref();
  }

  /** Stops all kernels, waits a little until the server has their last events, and ends. A second call awaits the first. */
  end(why: string): Promise<void> {
    this.#why ??= why;
    return (this.#ending ??= this.#end(this.#why));
  }
  #ending: Promise<void> | undefined;

  async #end(why: string): Promise<void> {
    const { log, store } = this.#options;
    log.info(`The keeper ends: ${why}`);
    await this.#stopKernels(`its keeper has ended: ${why}`);
    const latest = performance.now() + LAST_WORDS_MS;
    while (
      this.#attached !== undefined &&
      !store.isEmpty &&
      performance.now() < latest
    ) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    clearInterval(this.#checkTimer);
    clearTimeout(this.#emptyTimer);
    this.#attached?.end("the keeper has ended");
    for (const attachment of this.#unverified)
      attachment.close("the keeper has ended");
    for (const { session_id } of this.#runs.values()) this.#release(session_id);
    store[Symbol.dispose]();
    this.#resolveEnded(why);
  }

  #welcome(attachment: Attachment, hello: Partial<ServerHello>): void {
    const { log, faults } = this.#options;
    const refused = this.#whyRefused(hello);
    if (refused !== undefined) {
      faults.count("A server was refused", refused);
      const { epoch } = this.#holder;
      const holder = refused === "displaced" ? { epoch } : {};
      attachment.refuse({ ...versions, refused, ...holder });
      return;
    }
    const { epoch = 0, server = "" } = hello;
    this.#idleTimeout_ms =
      timeIn(hello.idle_timeout_ms) ?? this.#idleTimeout_ms;
    this.#busyTimeout_ms =
      timeIn(hello.busy_timeout_ms) ?? this.#busyTimeout_ms;
    this.#watchTimes();
    this.#unverified.delete(attachment);
    this.#attached?.displace(epoch);
    this.#attached = attachment;
    this.#holder = { epoch, server };
    const runs = [...this.#runs.values()].map((run) => run.facts);
    const { pid, boot_id } = currentOwner();
    const answer: KeeperHello = {
      ...versions,
      host: hostname(),
      boot_id: boot_id ?? "",
      pid,
      runs,
    };
    attachment.accept(answer, commonProtocol(hello));
    log.info({ epoch, version: hello.version }, "A server has attached");
    this.#considerEnd();
  }

  #whyRefused(hello: Partial<ServerHello>): Refused["refused"] | undefined {
    if (!isSameSecret(hello.secret, this.#options.secret)) return "secret";
    if (!isCompatible(hello)) return "version";
    const { epoch = 0, server } = hello;
    const holder = this.#holder;
    const isNewer = Number.isSafeInteger(epoch) && epoch > holder.epoch;
    const isSame = epoch === holder.epoch && server === holder.server;
    return isNewer || isSame ? undefined : "displaced";
  }

  #closed(attachment: Attachment, why: string): void {
    this.#unverified.delete(attachment);
    if (this.#attached !== attachment) return;
    this.#attached = undefined;
    this.#detachedAt = performance.now();
    this.#options.log.info(`The server has left: ${why}`);
    this.#considerEnd();
  }

  /** Does a command, or answers as it did the first time. */
  async #command(from: Attachment, command: Command): Promise<void> {
    const run = this.#runs.get(command.run_id ?? "");
    await this.#answer(from, run, command.id, () => this.#do(run, command));
  }

  async #answer(
    from: Attachment,
    run: KeptRun | undefined,
    id: string,
    act: () => unknown,
  ): Promise<void> {
    const answers = run?.answers ?? this.#answers;
    let answer = answers.get(id);
    if (answer === undefined) {
      answer = answered(id, act);
      answers.set(id, answer);
    }
    from.write(await answer);
  }

  /** Returns the result, or a promise of it. */
  #do(run: KeptRun | undefined, command: Command): unknown {
    switch (command.verb) {
      case "launch":
      case "adopt":
        this.#begin(run, command);
        return;
      case "reserve":
        return this.#provisioner(command).reserve(given(command.recipe));
      case "release":
        this.#release(given(command.session_id));
        return;
      case "end":
        this.#endIfUnused();
        return;
      case "interrupt":
        return theRun(run).interrupt();
      case "stop":
        return theRun(run).stop(command.restart === true);
      case "kill":
        return theRun(run).kill();
      case "resize":
        return theRun(run).resize(given(command.limits));
      case "is_alive":
        return theRun(run).isAlive(command.timeout_ms ?? 0);
      case "progress":
        return theRun(run).progress();
      case "cancel":
        theRun(run).cancel();
        return;
      case "retire":
        this.#retire(theRun(run));
        return;
      default:
        throw new Error("The keeper does not know the command");
    }
  }

  /** A run that exists is not started again. */
  #begin(run: KeptRun | undefined, command: Command): void {
    if (run !== undefined) return;
    if (this.#why !== undefined) throw new Error("The keeper is ending");
    const run_id = given(command.run_id);
    if (!/^[0-9a-f]{32}$/.test(run_id)) throw new Error("Not the id of a run");
    const { store } = this.#options;
    const isAdopted = command.verb === "adopt";
    const begun = new KeptRun(
      {
        run_id,
        recipe: given(command.recipe),
        provisioner: this.#provisioner(command),
        log: store.logOf(Buffer.from(run_id, "hex")),
        changed: () => this.#attached?.wake(),
        relieved: () => store.relieved,
      },
      isAdopted ? given(command.connection) : undefined,
    );
    this.#runs.set(run_id, begun);
    this.#considerEnd();
  }

  #provisioner({ env }: Command): Provisioner {
    const key = JSON.stringify(env);
    const known = this.#provisioners.get(key);
    if (known !== undefined) return known;
    const made = this.#options.provisionerOf(given(env));
    this.#provisioners.set(key, made);
    return made;
  }

  #release(session_id: string): void {
    for (const provisioner of this.#provisioners.values()) {
      provisioner.release(session_id);
    }
  }

  /** Forgets a run that is over. */
  #retire(run: KeptRun): void {
    if (!run.isOver) throw new Error("The run is not over");
    this.#runs.delete(run.run_id);
    this.#attached?.hold(run);
    this.#options.store.forget(run.log);
    this.#considerEnd();
  }

  #endIfUnused(): void {
    if (this.#isRunning) throw new Error("A kernel runs");
    // The answer is written first.
    setImmediate(() => void this.end("its server has no more use for it"));
  }

  get #isRunning(): boolean {
    return [...this.#runs.values()].some(({ isOver }) => !isOver);
  }

  /** Checks from time to time whether a server still comes. */
  #watchTimes(): void {
    const shortest = Math.min(this.#idleTimeout_ms, this.#busyTimeout_ms);
    const often = Math.max(shortest / 4, SHORTEST_CHECK_MS);
    const { check_ms = Math.min(often, CHECK_MS) } = this.#options;
    clearInterval(this.#checkTimer);
    this.#checkTimer = setInterval(() => this.#check(), check_ms);
  }

  /**
   * If no server has come for too long, the kernels are shut down. What they
   * have said waits for a server as long again; then the keeper ends.
   */
  #check(): void {
    const why = this.#whyForsaken;
    if (why === undefined || this.#why !== undefined) return;
    if (!this.#isRunning) {
      void this.end(why);
      return;
    }
    this.#options.log.info(`The kernels are shut down: ${why}`);
    void this.#stopKernels(`its keeper has shut it down: ${why}`);
  }

  /** Why no server is expected any more; `undefined` if one is, or if code runs that is waited for. */
  get #whyForsaken(): string | undefined {
    if (this.#attached !== undefined) return undefined;
    const alone_ms = performance.now() - this.#detachedAt;
    const idle_ms = this.#idleTimeout_ms;
    const busy_ms = this.#busyTimeout_ms;
    let longest = idle_ms;
    for (const run of this.#runs.values()) {
      if (!run.isBusy) {
        if (run.idle_ms <= idle_ms) return undefined;
      } else if (run.busy_ms <= busy_ms) return undefined;
      else longest = Math.max(longest, busy_ms);
    }
    return alone_ms > longest
      ? `no server has attached for ${describeTime(longest)}`
      : undefined;
  }

  /** Shuts all kernels down side by side. A second call awaits the first. Never rejects. */
  #stopKernels(why: string): Promise<void> {
    const { log } = this.#options;
    this.#stopping ??= Promise.all(
      [...this.#runs.values()]
        .filter(({ isOver }) => !isOver)
        .map((run) =>
          run.end(why).catch((err: unknown) => {
            log.error(
              { err, session: run.session_id },
              "The kernel could not be ended",
            );
          }),
        ),
    ).then(() => {
      this.#stopping = undefined;
    });
    return this.#stopping;
  }

  /** Ends soon if there is nothing to keep and no server. */
  #considerEnd(): void {
    clearTimeout(this.#emptyTimer);
    const { store, emptyTimeout_ms = EMPTY_TIMEOUT_MS } = this.#options;
    const isNeeded = () =>
      this.#attached !== undefined || this.#isRunning || !store.isEmpty;
    if (isNeeded()) return;
    this.#emptyTimer = setTimeout(() => {
      if (!isNeeded()) void this.end("it has nothing to keep and no server");
    }, emptyTimeout_ms);
  }
}

function describeTime(milliseconds: number): string {
  const days = milliseconds / 86_400_000;
  return days >= 1 ? `${days} days` : `${milliseconds / 1000} s`;
}

/** The frame that answers a command. Never rejects. */
async function answered(id: string, act: () => unknown): Promise<Buffer[]> {
  try {
    const result = await act();
    return jsonFrame(frameKinds.done, { id, result });
  } catch (error) {
    return jsonFrame(frameKinds.failed, { id, error: toWire(error) });
  }
}

function theRun(run: KeptRun | undefined): KeptRun {
  if (run === undefined) throw new Error("The keeper does not have the run");
  return run;
}

function given<T>(value: T | undefined): T {
  if (value === undefined) throw new StreamError("a command lacks a field");
  return value;
}
