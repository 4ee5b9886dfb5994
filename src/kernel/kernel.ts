/**
 * The two interfaces between a session and its kernels: a kernel, which has
 * answered once, and the provisioner that starts or adopts one. A session depends
 * neither on processes nor on sockets.
 */
import type { Duplex } from "node:stream";
import type {
  ConnectionInfo,
  SessionLimits,
  VarAction,
} from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import type { Refusal } from "../jupyter/admission.ts";
import type { Channel, Message } from "../jupyter/message.ts";
import type { Burst } from "../jupyter/record.ts";

/** The specification of a kernel that is to be started. */
export interface Recipe {
  readonly session_id: string;
  /** By which Jupyter's clients name the session's kernel. */
  readonly kernel_id?: string | undefined;
  /** The kernelspec. */
  readonly kernel_name?: string | undefined;
  /** The command; `{connection_file}` is not filled in yet. */
  readonly argv: readonly string[];
  readonly language: string;
  readonly env: readonly VarAction[];
  /** The kernelspec's own variables; `$NAME` is not replaced yet. */
  readonly spec_env: Readonly<Record<string, string>> | undefined;
  /** Empty: the server's own directory. */
  readonly working_directory: string;
  readonly key: string;
  readonly username: string;
  readonly interrupt_mode: "signal" | "message";
  /** From 5.5 on, the kernel chooses and registers its own ports (JEP 66). */
  readonly protocol_version: string;
  readonly startup_environment: "none" | "shell" | "command" | "script";
  readonly startup_environment_arg: string | undefined;
  /** The addresses that clients got for the kernel before its start. */
  readonly connection: ConnectionInfo | undefined;
  /** The kind of sockets that the kernelspec asks for. Default: the server's setting. */
  readonly kernel_sockets?: "ipc" | "tcp" | undefined;
  /** The time from the launch to the first answer; `undefined`: no limit. */
  readonly timeout_ms: number | undefined;
  /** What the kernel may use at most. Default: no limits. */
  readonly limits?: SessionLimits | undefined;
  /** Names the run of a kernel that a keeper holds: 32 hex digits, new for each start. `undefined`: the kernel lives in this process's tree. */
  readonly run_id?: string | undefined;
  /** The run already exists in its keeper: attach to it, and do not launch. `after`: the number of the last event that the journal has. */
  readonly resume?: { readonly after: number } | undefined;
}

/** Facts about a run, known as soon as its process has started. */
export interface Launched {
  readonly pid: number | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly working_directory: string;
  readonly connection_file: string | undefined;
  /** Ends the process during the start; `undefined` if another program started it. */
  readonly kill: (() => Promise<void>) | undefined;
}

/** The state of the kernel's main shell. */
export type ShellState = "busy" | "idle";

/** Callbacks from a run to its session. None may throw. */
export interface Hooks {
  launched(run: Launched): void;
  /** The state of the main shell, from replies to the server's first request. The messages themselves are left out. */
  state(state: ShellState): void;
  /** kernel → session, admitted and in order of arrival. Messages that the server's own requests caused are left out. */
  message(message: Message): void;
  /** The same for many messages at once. */
  burst(burst: Burst): void;
  /** The same for a message that was refused. */
  refused(refusal: Refusal): void;
  /** kernel → session: a message of at least `size` bytes exceeds the limit and was skipped. */
  tooLarge(channel: Channel, size: number): void;
  /** Resolves once the session has caught up with the messages on iopub; `undefined` if it is not late. */
  caughtUp(): Promise<unknown> | undefined;
  /** A line of the process's own output, or a part of one. */
  output(stream: "stdout" | "stderr", text: string): void;
  registered(connection: ConnectionInfo): void;
  heartbeat(beats: boolean): void;
  /** Its limits were changed by `Kernel.resize`. */
  resized?(change: LimitsChange): void;
  /** Called once for each process that ran, even if the start failed, after the last message and the last line. */
  exited(exit: Exit): void;
  /** A kept run: the hooks of event `number` and of all earlier events were called. */
  noted?(number: number): void;
  /** A kept run: its events `from` to `to` do not exist any more. */
  lost?(from: number, to: number): void;
}

/** Limits with new values. `null`: no limit. A limit that is left out stays as it is. */
export type LimitsChange = Partial<SessionLimits>;

export interface Kernel {
  readonly pid: number | undefined;
  /** The process that holds it for its server; `undefined` if the server does so itself. */
  readonly keeperPid?: number | undefined;
  readonly connection: ConnectionInfo;
  /** The content of its first `kernel_info_reply`. */
  readonly info: Readonly<Record<string, unknown>>;
  /** Resolves once, with how it ended, after `Hooks.exited`. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Whether the kernel loses an interrupt that arrives between a request and the start of its code. */
  readonly missesInterrupts: boolean;
  /** client → kernel, in order on each channel. Throws `kernel_unreachable` if the kernel accepts no more messages. */
  send(message: Message): void;
  /** Whether a message of the kernel is on its way to `Hooks`: a part of it has arrived, or its receiver is late. Never rejects. Default: no. */
  isReceiving?(): Promise<boolean>;
  /** Whether its process runs, after it has had so long to answer a request that leaves no trace. Throws `kernel_unreachable`. */
  isAlive?(timeout_ms: number): Promise<boolean>;
  /** By signal to the process group, or by message, as its recipe says. Throws `interrupt_failed`. */
  interrupt(): Promise<void>;
  /** Asks the kernel to shut down, terminates it, kills it. Resolves when it is gone. */
  stop(restart: boolean): Promise<Exit>;
  /** Ends the whole process tree at once. Throws `no_process` or `process_not_found`. */
  kill(): Promise<void>;
  /**
   * Opens a connection to a TCP port of loopback on which a process of the
   * kernel's tree listens, and half of which can be closed. Throws
   * `port_unreachable`. An error ends it if what carries it is lost.
   */
  forward(port: number): Promise<Duplex>;
  /**
   * Changes limits while it runs: all that are given, or none. The run time counts
   * from its start; a kernel that has run for longer is shut down at once. Throws
   * `bad_configuration` if one of them cannot be changed.
   */
  resize(change: LimitsChange): Promise<void>;
  /** The current directory of its process, if the platform reports it. */
  workingDirectory(): string | undefined;
}

export interface Provisioner {
  /** Launches and waits for the first answer. If the start fails or `signal` aborts, its process was killed and reaped. */
  launch(recipe: Recipe, hooks: Hooks, signal: AbortSignal): Promise<Kernel>;
  /** Connects to a kernel that another program started. */
  adopt(
    recipe: Recipe,
    connection: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel>;
  /** Reserves ports for the next launch of that session. */
  reserve(recipe: Recipe): Promise<ConnectionInfo>;
  /** Releases the session's reserved ports and removes its files. */
  release(session_id: string): void;
  /** A kept run: what its events up to `number` have caused is written, so its keeper may drop them. */
  acknowledge?(run_id: string, number: number): void;
}
