/**
 * The interface to a machine on which kernels run: the operations that a launch
 * needs. `local.ts` implements it for this machine.
 *
 * Paths, process ids and addresses are valid on the host. The interface does
 * not say how they are obtained, so that the host can be another machine or a
 * fake.
 */
import type { Duplex } from "node:stream";
import type { Reservation } from "./address.ts";
import type { SignalOutcome } from "./signal-outcome.ts";
import type { EnvironmentOptions, Variables } from "./environment.ts";
import type { Exit } from "./exit.ts";
import type { MissingScript, StartupCommand, StartupOptions } from "./shell.ts";
import type { WorkingDirectory } from "./working-directory.ts";

export interface Host {
  readonly platform: NodeJS.Platform;
  /** The address on which kernels bind their ports and reach a socket of this server. */
  readonly ip: string;

  /** The user that kernels run as; empty if unknown. */
  userName(): string;
  /** The directory in which a kernel starts if this one is requested. */
  workingDirectory(requested: string): Promise<WorkingDirectory>;
  /** The variables that a kernel starts with: those that it inherits on the host, the request's and the kernelspec's. */
  environment(
    options: Omit<EnvironmentOptions, "base" | "platform">,
  ): Variables;
  /** Why the cores of a kernel cannot be limited on this host; `undefined` if they can. */
  whyNoCpuLimit(): string | undefined;
  /** The file that the first word of a command refers to. */
  findProgram(program: string, where: SearchContext): Promise<FoundProgram>;
  /** The command that runs the kernel's command in its start-up environment. */
  startupCommand(
    options: Omit<StartupOptions, "serverShell" | "platform">,
  ): Promise<StartupCommand | MissingScript>;

  /** Writes a private file of the session. Resolves with its path when the file is complete. */
  writeFile(session_id: string, content: unknown): Promise<string>;
  /** Removes the session's files. Safe to call twice. */
  removeFiles(session_id: string): void;

  /** Reserves five ports. Rejects if five are not available. */
  reservePorts(): Promise<Reservation>;
  /** Reserves names for five Unix sockets; `undefined` if the host cannot have them. */
  reserveSockets(): Promise<Reservation | undefined>;

  /** Starts a command in a new process group. Rejects with an error whose message says why the command cannot be run. */
  start(command: HostCommand, onOutput: OutputListener): Promise<HostProcess>;
  /** Records a session's process, so that the next server can end it if this one is killed. */
  recordProcess(session_id: string, pid: number): Promise<void>;
}

/** The questions about a host that are answered before a launch. */
export type HostFacts = Pick<
  Host,
  | "userName"
  | "workingDirectory"
  | "environment"
  | "findProgram"
  | "whyNoCpuLimit"
>;

/** The environment and the directory in which a program is searched. */
export interface SearchContext {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

export interface FoundProgram {
  /** Absolute path; `undefined` if the program does not exist. */
  readonly file: string | undefined;
  /** The directories that were searched, in the notation of PATH. */
  readonly path: string;
}

export interface HostCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Variables;
  readonly cwd: string;
  /** Whether the kernel will be interrupted by signal. */
  readonly interrupts: boolean;
  /** What it and all processes that it starts may use together. Default: no limits. */
  readonly limits?: ProcessLimits | undefined;
}

export interface ProcessLimits {
  /** Bytes. It is killed if they use more. */
  readonly memory_bytes?: number | undefined;
  /** Cores. */
  readonly cpus?: number | undefined;
}

export type OutputListener = (
  stream: "stdout" | "stderr",
  text: string,
) => void;

/** Why a command could not be started; `message` is for people. */
export interface StartError extends Error {
  /** The system's error number. */
  readonly errno?: number | undefined;
}

export interface HostProcess {
  readonly pid: number;
  readonly group: SignalledGroup;
  /** The variables that it was started with. */
  readonly env: Variables;
  readonly isRunning: boolean;
  /** Resolves after the last line of output, with how the process ended. Never rejects. */
  readonly exited: Promise<Exit>;
  /** The output so far, both streams in the order of arrival. */
  readonly output: string;
  /** The process's current directory, if the system reports it. */
  readonly directory: string | undefined;
  /** Connects to a TCP port of the host's loopback on which the process or one of its descendants listens. Rejects with an error whose message says why not. */
  connect(port: number): Promise<Duplex>;
  /** Changes what it may use: all that is given, or nothing. `null`: no limit. Rejects with an error whose message says which limit cannot be changed, and why. */
  resize(limits: {
    readonly [Name in keyof ProcessLimits]: ProcessLimits[Name] | null;
  }): Promise<void>;
  /** Whether the process can run, so is not stopped; false if the system does not report it. */
  readonly isScheduled: boolean;
  /** Tells the host that the kernel has answered, so that it runs where it shall: a later kill for lack of memory is found by that. */
  noteMemory?(): void;
}

/** A process and its descendants, which are signalled together. */
export interface SignalledGroup {
  interrupt(): Promise<SignalOutcome>;
  /** Finds descendants that left the group, so that `terminate` and `kill` reach them after the leader has ended. */
  remember(): void;
  terminate(): Promise<SignalOutcome>;
  kill(): Promise<SignalOutcome>;
}
