/**
 * One running kernel: its sockets, its heartbeat and, if the server started it,
 * its process. Everything that belongs to one run is created and released here.
 *
 * The session does not receive messages that the server's own requests (kernel
 * info, shut down, interrupt) cause: messages with such a parent are left out.
 */
import { randomUUID } from "node:crypto";
import type { Duplex } from "node:stream";
import { setImmediate as nextTurn } from "node:timers/promises";
import {
  type ConnectionInfo,
  failure,
  type KernelInfo,
} from "../../contract/index.ts";
import { describeRefusal, type Refusal } from "../jupyter/admission.ts";
import { concernsMainShell } from "../jupyter/control-requests.ts";
import { Signer } from "../jupyter/frames.ts";
import {
  type Channel,
  compose,
  contentOf,
  type Message,
} from "../jupyter/message.ts";
import type { Burst } from "../jupyter/record.ts";
import type { Log } from "../log/log.ts";
import type { Faults } from "../log/faults.ts";
import { rejectOnAbort } from "../time/signals.ts";
import { boundaryOf } from "./boundary.ts";
import { isFault, KernelFault } from "./fault.ts";
import { type Heartbeat, watchHeartbeat } from "./heartbeat.ts";
import type { Exit } from "../host/exit.ts";
import type { Hooks, Kernel, LimitsChange, Recipe } from "./kernel.ts";
import { MainShell, reportedState } from "./main-shell.ts";
import type { SignalOutcome } from "../host/signal-outcome.ts";
import type { HostProcess } from "../host/host.ts";
import { curveOf, endpointOf, Sockets } from "./sockets.ts";
import { LONGEST_STOP_MS, stop, type Stoppable } from "./stop.ts";
import { within } from "../time/within.ts";
import {
  type KernelTransport,
  LinkError,
  type LinkState,
} from "../zmq/transport.ts";

/** The time between two `kernel_info_request`s while the kernel does not answer. */
const PROBE_INTERVAL_MS = 500;
/** How long to wait, after the first answer, for proof that iopub and stdin are connected. */
const REACH_TIMEOUT_MS = 2_000;
/** Time for messages in flight after the process is gone. */
const DRAIN_MS = 500;
const INTERRUPT_TIMEOUT_MS = 5_000;
/** An adopted kernel counts as gone if its sockets are closed for this long. */
const ADOPTED_TIMEOUT_MS = 1_000;
/** The largest number of the server's own requests that are remembered. */
const OWN_LIMIT = 1_000;

export interface KernelRun {
  readonly recipe: Recipe;
  readonly connection: ConnectionInfo;
  /** `undefined` for a kernel that another program started. */
  readonly process: HostProcess | undefined;
  /** The platform of the kernel's host. */
  readonly platform: NodeJS.Platform;
  readonly transport: KernelTransport;
  readonly hooks: Hooks;
  readonly log: Log;
  readonly faults: Faults;
}

type Content = Readonly<Record<string, unknown>>;

/** A request of the server that waits for its reply. */
interface PendingRequest {
  readonly resolve: (content: Content) => void;
  readonly reject: (why: KernelFault) => void;
}

export class RunningKernel implements Kernel, Stoppable {
  readonly missesInterrupts = true;
  readonly connection: ConnectionInfo;
  readonly exited: Promise<Exit>;
  readonly #run: KernelRun;
  readonly #sockets: Sockets;
  readonly #heartbeat: Heartbeat;
  readonly #own = new Map<string, PendingRequest>();
  #info: Readonly<Record<string, unknown>> = {};
  #iopubSeen: (() => void) | undefined;
  readonly #stdinConnected: Promise<void>;
  readonly #resolveStdin: () => void;
  readonly #log: Log;
  /** Rejects once a channel is given up. */
  readonly #channelLost: Promise<never>;
  readonly #loseChannel: (why: KernelFault) => void;
  /** Why the server ended the kernel, if no client requested it. */
  #endReason: string | undefined;
  #resolveExit: ((exit: Exit) => void) | undefined;
  readonly #shell: MainShell;

  constructor(run: KernelRun) {
    this.#run = run;
    this.connection = run.connection;
    const { connection, hooks, faults } = run;
    const { session_id } = run.recipe;
    this.#log = run.log.child({ session: session_id });
    let resolveStdin = () => {};
    this.#stdinConnected = new Promise((resolve) => (resolveStdin = resolve));
    this.#resolveStdin = resolveStdin;
    let lose: (why: KernelFault) => void = () => {};
    this.#channelLost = new Promise((_, reject) => (lose = reject));
    this.#channelLost.catch(() => {}); // `connect` awaits it
    this.#loseChannel = lose;
    const boundary = boundaryOf(run.transport, faults, session_id);
    this.#shell = new MainShell((state) => hooks.state(state));
    this.#sockets = new Sockets(
      boundary,
      connection,
      new Signer(connection.key, connection.signature_scheme),
      {
        ...hooks,
        message: (message) => this.#received(message),
        burst: (burst) => this.#receivedBurst(burst),
        refused: (refusal) => this.#refused(refusal),
        stateChanged: (channel, state, error) =>
          this.#moved(channel, state, error),
      },
    );
    try {
      this.#heartbeat = watchHeartbeat({
        boundary,
        endpoint: endpointOf(connection, connection.hb_port),
        curve: curveOf(connection),
        changed: (beats) => hooks.heartbeat(beats),
        givenUp: (error) =>
          this.#log.warn(`The heartbeat was given up: ${error.message}`),
        isSilenceExpected: () =>
          this.#shell.isBusy && run.process?.isScheduled === true,
      });
    } catch (error) {
      this.#sockets.close();
      throw error;
    }
    this.exited = this.#ended();
  }

  get pid(): number | undefined {
    return this.#run.process?.pid;
  }

  get info(): Readonly<Record<string, unknown>> {
    return this.#info;
  }

  /**
   * Sends `kernel_info_request` until the kernel has answered, its iopub is known
   * to reach the server, and its stdin is connected: ZeroMQ drops input requests on a
   * stdin without a peer. Resolves with the answer. Never settles if the kernel
   * dies, so race it against `exited`.
   */
  async connect(signal: AbortSignal): Promise<KernelInfo> {
    const iopub = new Promise<void>((resolve) => (this.#iopubSeen = resolve));
    const fails = Promise.race([rejectOnAbort(signal), this.#channelLost]);
    fails.catch(() => {}); // it may reject after the races below
    const answers: Promise<Content>[] = [];
    let answer: Content | undefined;
    while (answer === undefined) {
      signal.throwIfAborted();
      // A request waits in the link until the kernel listens, so a second one is useful only when it is connected.
      if (answers.length === 0 || this.#sockets.isConnected("shell")) {
        answers.push(this.#request("shell", "kernel_info_request", {}));
      }
      if (this.#sockets.isConnected("control")) {
        answers.push(this.#request("control", "kernel_info_request", {}));
      }
      answer = await within(
        Promise.race([...answers, fails]),
        PROBE_INTERVAL_MS,
      );
    }
    const seen = Promise.race([iopub.then(() => true), fails]);
    seen.catch(() => {}); // it may reject after the race below
    const latest = performance.now() + REACH_TIMEOUT_MS;
    while (
      (await within(seen, PROBE_INTERVAL_MS)) === undefined &&
      performance.now() < latest
    ) {
      void this.#request("shell", "kernel_info_request", {}); // for the busy and idle status that it causes
    }
    const left = Math.max(0, latest - performance.now());
    await Promise.race([within(this.#stdinConnected, left), fails]);
    await this.#shellSettled(fails);
    this.#isConnected = true;
    this.#run.process?.noteMemory?.();
    this.#info = answer;
    return this.#info as KernelInfo;
  }

  /** The main shell reports `idle` soon after its answer. The main shell of an adopted kernel may run code for hours. */
  async #shellSettled(tooLate: Promise<never>): Promise<void> {
    const shell = this.#shell;
    await Promise.race([within(shell.settled, PROBE_INTERVAL_MS), tooLate]);
    const isAdopted = this.#run.process === undefined;
    if (isAdopted && !shell.hasAnswered) shell.assumeBusy();
  }

  send(message: Message): void {
    const { session_id } = this.#run.recipe;
    try {
      this.#sockets.send(message);
    } catch (error) {
      if (!(error instanceof LinkError)) throw error;
      const why = REFUSALS[error.why];
      throw failure("kernel_unreachable", { session_id, why });
    }
  }

  async isReceiving(): Promise<boolean> {
    await nextTurn(); // after the system has said which sockets have bytes
    return this.#sockets.isReceiving;
  }

  async isAlive(timeout_ms: number): Promise<boolean> {
    const answer = this.#request("control", "kernel_info_request", {});
    const exit = this.exited.then(() => undefined);
    await within(Promise.race([answer, exit]), timeout_ms);
    return this.#run.process?.isRunning !== false;
  }

  async interrupt(): Promise<void> {
    const { session_id, interrupt_mode } = this.#run.recipe;
    const outcome =
      interrupt_mode === "signal" ? await this.#signal() : "unsupported";
    if (outcome === "sent") return;
    if (outcome !== "unsupported") {
      const why = `its process is ${outcome}`;
      throw failure("interrupt_failed", { session_id, why });
    }
    const reply = this.#request("control", "interrupt_request", {});
    let answer: unknown;
    try {
      answer = await within(reply, INTERRUPT_TIMEOUT_MS);
    } catch (cause) {
      if (!isFault(cause, "bad_reply")) throw cause;
      const why = cause.message;
      throw failure("interrupt_failed", { session_id, why }, { cause });
    }
    if (answer === undefined) {
      this.#log.warn("The kernel has not answered the interrupt request");
    }
  }

  /** `unsupported` if only an interrupt message is possible. */
  async #signal(): Promise<SignalOutcome> {
    const { process: own, platform, recipe } = this.#run;
    if (own !== undefined) return own.group.interrupt();
    if (platform === "win32") return "unsupported";
    throw failure("interrupt_failed", {
      session_id: recipe.session_id,
      why: "another program started its process, and it does not accept interrupt messages",
    });
  }

  async stop(restart: boolean): Promise<Exit> {
    this.#restart = restart;
    this.#run.process?.group.remember();
    const exit = await stop(this);
    if (exit !== undefined) return exit;
    if (this.#run.process === undefined) {
      this.#reportExit();
      return this.exited;
    }
    throw failure("process_not_found", {
      session_id: this.#run.recipe.session_id,
      why: `process ${this.#run.process.pid} is still there ${LONGEST_STOP_MS / 1000} s after the request to shut down, although it was killed`,
    });
  }
  #restart = false;

  askToShutDown(): void {
    try {
      void this.#request("control", "shutdown_request", {
        restart: this.#restart,
      });
    } catch {
      // The kernel accepts no messages: the next step sends a signal.
    }
  }

  async terminate(): Promise<void> {
    await this.#run.process?.group.terminate();
  }

  async forceKill(): Promise<void> {
    await this.#run.process?.group.kill();
  }

  async kill(): Promise<void> {
    const { session_id } = this.#run.recipe;
    const group = this.#run.process?.group;
    if (group === undefined) throw failure("no_process", { session_id });
    const outcome = await group.kill();
    if (outcome !== "sent") {
      const why = `it is ${outcome}`;
      throw failure("process_not_found", { session_id, why });
    }
  }

  async forward(port: number): Promise<Duplex> {
    const { recipe, process: own } = this.#run;
    try {
      if (own === undefined) {
        const why =
          "another program started its process, so it is not known which programs are its own";
        throw new Error(why);
      }
      return await own.connect(port);
    } catch (cause) {
      const { session_id } = recipe;
      const why = (cause as Error).message;
      throw failure("port_unreachable", { session_id, port, why }, { cause });
    }
  }

  async resize(change: LimitsChange): Promise<void> {
    const { recipe, process: own, hooks } = this.#run;
    try {
      if (own === undefined) throw new Error("another program started it");
      await own.resize(change);
    } catch (cause) {
      const why = `The limits of the kernel of session ${recipe.session_id} cannot be changed: ${(cause as Error).message}`;
      throw failure("bad_configuration", { why }, { cause });
    }
    hooks.resized?.(change);
  }

  workingDirectory(): string | undefined {
    return this.#run.process?.directory;
  }

  /** Sends a request of the server. Resolves with the content of the reply, rejects with a `bad_reply`; without a reply it stays pending. */
  #request(
    channel: "shell" | "control",
    msg_type: string,
    content: Record<string, unknown>,
  ): Promise<Content> {
    const { session_id, username } = this.#run.recipe;
    const msg_id = `supervisor-${randomUUID()}`;
    if (channel === "shell") this.#shell.requestSent(msg_id);
    this.send(
      compose({
        channel,
        msg_type,
        content,
        msg_id,
        session: session_id,
        username,
      }),
    );
    const reply = new Promise<Content>((resolve, reject) => {
      this.#own.set(msg_id, { resolve, reject });
      const [oldest] = this.#own.keys();
      if (this.#own.size > OWN_LIMIT && oldest !== undefined) {
        this.#own.delete(oldest);
      }
    });
    reply.catch(() => {}); // a caller may ignore the reply
    return reply;
  }

  /** kernel → session */
  #received(message: Message): void {
    const { channel, header, parent_header } = message;
    if (channel === "iopub") {
      this.#iopubSeen?.();
      if (header.msg_type === "iopub_welcome") return; // answers a subscription; it is not about the kernel
    }
    const parent_id = parent_header?.msg_id ?? "";
    const state = reportedState(message);
    const pending = this.#own.get(parent_id);
    if (pending !== undefined) {
      if (channel === "shell") this.#shell.replyReceived(parent_id);
      if (state !== undefined) this.#shell.stateForOwn(parent_id, state);
      if (channel === "iopub") return;
      // Parsed here: the bytes belong to the socket, which may overwrite them later.
      const content = contentOf(message);
      if (content !== undefined) pending.resolve(content);
      else {
        const { msg_type } = header;
        pending.reject(badReply(`its ${msg_type} is not an object`));
      }
      return;
    }
    if (state !== undefined && concernsMainShell(parent_header)) {
      this.#shell.stateForOthers(state);
    }
    this.#run.hooks.message(message);
  }

  /** kernel → session, many messages at once. They never contain facts about the kernel itself. */
  #receivedBurst(burst: Burst): void {
    this.#iopubSeen?.();
    if (!this.#own.has(burst.parent_id)) this.#run.hooks.burst(burst);
  }

  /** kernel → session, for a message that could not be admitted. */
  #refused(refusal: Refusal): void {
    if (refusal.channel === "iopub") this.#iopubSeen?.();
    const parent_id = refusal.parent?.header.msg_id ?? "";
    const pending = this.#own.get(parent_id);
    if (pending !== undefined && refusal.channel === "shell") {
      this.#shell.replyReceived(parent_id);
    }
    if (pending === undefined) this.#run.hooks.refused(refusal);
    else if (refusal.channel !== "iopub") {
      pending.reject(badReply(describeRefusal(refusal)));
    }
  }

  #moved(channel: Channel, state: LinkState, error: Error | undefined): void {
    this.#log.debug({ channel, err: error }, `${channel} is ${state}`);
    if (channel === "stdin" && state === "connected") this.#resolveStdin();
    if (state === "closed" && error !== undefined)
      this.#onChannelLost(channel, error);
    if (this.#run.process === undefined) this.#watchAdopted();
  }

  /** The driver gave the channel up. The kernel cannot be used without it: a start fails, and a running kernel is ended. */
  #onChannelLost(channel: Channel, error: Error): void {
    const why = `its ${channel} cannot be reached: ${error.message}`;
    const lost = new KernelFault("channel_lost", why, { cause: error });
    this.#log.warn({ channel }, `${channel} was given up: ${error.message}`);
    this.#loseChannel(lost);
    if (!this.#isConnected) return;
    const own = this.#run.process;
    if (own === undefined) {
      this.#endReason ??= lost.message;
      this.#reportExit();
    } else if (own.isRunning) {
      this.#endReason ??= lost.message;
      own.group.kill().catch((err: unknown) => {
        this.#log.warn({ err }, "The kernel could not be killed");
      });
    }
  }
  #isConnected = false;

  /** There is no process to await: an adopted kernel has exited when its sockets closed and stay closed. */
  #watchAdopted(): void {
    const isThere = () =>
      this.#sockets.isConnected("shell") || this.#sockets.isConnected("iopub");
    if (isThere()) this.#wasThere = true;
    if (isThere() || !this.#wasThere) return;
    setTimeout(() => {
      if (!isThere()) this.#reportExit();
    }, ADOPTED_TIMEOUT_MS).unref();
  }
  #wasThere = false;

  /** The exit code is not known. */
  #reportExit(): void {
    this.#resolveExit?.({ exit_code: 0, signal: null, output: "" });
  }

  async #ended(): Promise<Exit> {
    const { process, hooks } = this.#run;
    const lost = new Promise<Exit>((resolve) => (this.#resolveExit = resolve));
    const end = await (process === undefined ? lost : process.exited);
    await this.#sockets.drained(DRAIN_MS);
    this.close();
    const exit =
      this.#endReason === undefined ? end : { ...end, why: this.#endReason };
    hooks.exited(exit);
    return exit;
  }

  /** Closes the sockets. `stop` and `kill` end the process, if there is one. */
  close(): void {
    this.#shell.close();
    this.#heartbeat.close();
    this.#sockets.close();
  }
}

/** Why the link accepts no message. */
const REFUSALS = {
  full: "it does not read the earlier messages",
  closed: "the connection is closed",
} as const;

function badReply(why: string): KernelFault {
  return new KernelFault("bad_reply", why);
}
