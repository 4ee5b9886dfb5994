/**
 * What a session needs of a kernel: something that was started or found, has
 * answered once, can be talked to, and will one day exit. Two ports: the
 * kernel, and the provisioner that brings one. A session knows neither
 * processes nor sockets.
 */
import type { ConnectionInfo, VarAction } from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import type { Refusal } from "../jupyter/admission.ts";
import type { Channel, Message } from "../jupyter/message.ts";
import type { Burst } from "../jupyter/record.ts";

/** What a kernel is started from. */
export interface Recipe {
  readonly session_id: string;
  /** With `{connection_file}` still in it. */
  readonly argv: readonly string[];
  readonly language: string;
  readonly env: readonly VarAction[];
  /** A kernelspec's own variables, with `$NAME` still in them. */
  readonly spec_env: Readonly<Record<string, string>> | undefined;
  /** Empty: the server's own. */
  readonly working_directory: string;
  readonly key: string;
  readonly username: string;
  readonly interrupt_mode: "signal" | "message";
  /** From 5.5 on the kernel registers its own ports (JEP 66). */
  readonly protocol_version: string;
  readonly startup_environment: "none" | "shell" | "command" | "script";
  readonly startup_environment_arg: string | undefined;
  /** Where clients were told that the kernel would be. */
  readonly connection: ConnectionInfo | undefined;
  /** The kind of sockets that the kernelspec asks for. Default: the server's setting. */
  readonly kernel_sockets?: "ipc" | "tcp" | undefined;
  /** From the launch to the first answer; `undefined` for no bound. */
  readonly timeout_ms: number | undefined;
}

/** What is known of a run as soon as its process is there. */
export interface Launched {
  readonly pid: number | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly working_directory: string;
  readonly connection_file: string | undefined;
  /** Ends it while it starts; `undefined` where there is no process of ours. */
  readonly kill: (() => Promise<void>) | undefined;
}

/** What the kernel's main shell does. */
export type ShellState = "busy" | "idle";

/** What a run tells its session, as it happens. None may throw. */
export interface Hooks {
  launched(run: Launched): void;
  /** What our own first request told of the kernel's main shell. The messages that told it are left out. */
  state(state: ShellState): void;
  /** kernel → session, admitted and in order of arrival. What our own probing caused is left out. */
  message(message: Message): void;
  /** The same, of many at once. */
  burst(burst: Burst): void;
  /** The same, of a message that could not be admitted. */
  refused(refusal: Refusal): void;
  /** kernel → session: a message of at least so many bytes, more than is taken, was passed over. */
  tooLarge(channel: Channel, size: number): void;
  /** Resolves once the session has caught up with what it has heard on iopub; `undefined` while it keeps pace. */
  behind(): Promise<unknown> | undefined;
  /** A line of the process's own output, or what there was of one. */
  output(stream: "stdout" | "stderr", text: string): void;
  registered(connection: ConnectionInfo): void;
  heartbeat(beats: boolean): void;
  /** Once for each process that ran, started well or not, after the last message and the last line. */
  exited(exit: Exit): void;
}

export interface Kernel {
  readonly pid: number | undefined;
  readonly connection: ConnectionInfo;
  /** The content of its first `kernel_info_reply`. */
  readonly info: Readonly<Record<string, unknown>>;
  /** Resolves once, with how it ended, after `Hooks.exited`. Never rejects. */
  readonly exited: Promise<Exit>;
  /** Whether an interrupt that comes between a request and the running of its code is lost on it, or worse. */
  readonly missesInterrupts: boolean;
  /** client → kernel, in order on each channel. Throws `kernel_unreachable` where it takes no more. */
  send(message: Message): void;
  /** By signal to the process group, or by message, as its recipe says. Throws `interrupt_failed`. */
  interrupt(): Promise<void>;
  /** Asks, insists, forces; resolves when it is gone. */
  stop(restart: boolean): Promise<Exit>;
  /** Ends the whole process tree at once. Throws `no_process` or `process_not_found`. */
  kill(): Promise<void>;
  /** Where its process is now, where the platform tells. */
  workingDirectory(): string | undefined;
}

export interface Provisioner {
  /** Launches and waits for the first answer. A start that fails, or that `signal` aborts, has killed and reaped what it started. */
  launch(recipe: Recipe, hooks: Hooks, signal: AbortSignal): Promise<Kernel>;
  /** Connects to a kernel that somebody else started. */
  adopt(
    recipe: Recipe,
    connection: ConnectionInfo,
    hooks: Hooks,
    signal: AbortSignal,
  ): Promise<Kernel>;
  /** Sets ports aside for the next launch of that session. */
  reserve(recipe: Recipe): Promise<ConnectionInfo>;
  /** What `reserve` set aside and a launch made (ports, files) is given back. */
  release(session_id: string): void;
}
