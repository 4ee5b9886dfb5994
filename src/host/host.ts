/**
 * The port to a machine on which kernels run: what a launch needs of it, and
 * what is asked about it before. `local.ts` is this machine.
 *
 * Paths, process numbers and addresses are the host's own. Nothing here says how
 * they are come by, so that another machine, or none, can stand behind it.
 */
import type { Reservation } from "./address.ts";
import type { SignalOutcome } from "./signal-outcome.ts";
import type { EnvironmentOptions, Variables } from "./environment.ts";
import type { Exit } from "./exit.ts";
import type { MissingScript, StartupCommand, StartupOptions } from "./shell.ts";
import type { WorkingDirectory } from "./working-directory.ts";

export interface Host {
  readonly platform: NodeJS.Platform;
  /** Where kernels bind their ports, and where they reach a socket of ours. */
  readonly ip: string;

  /** Who kernels run as; empty where nobody knows. */
  userName(): string;
  /** Where a kernel would start that is to start there. */
  workingDirectory(requested: string): Promise<WorkingDirectory>;
  /** The variables that a kernel inherits there, with those of its recipe. */
  environment(wanted: Omit<EnvironmentOptions, "base" | "platform">): Variables;
  /** Which file a command's first word means. */
  findProgram(program: string, where: Place): Promise<FoundProgram>;
  /** What to start so that the kernel's command runs in its start-up environment. */
  startupCommand(
    wanted: Omit<StartupOptions, "serverShell" | "platform">,
  ): Promise<StartupCommand | MissingScript>;

  /** Resolves with the path of a private file of the session's, once it is there, whole. */
  writeFile(session_id: string, content: unknown): Promise<string>;
  /** Removes what was written for a session. Safe to call twice. */
  removeFiles(session_id: string): void;

  /** Sets five ports aside. Rejects when they are not to be had. */
  reservePorts(): Promise<Reservation>;
  /** Sets names for five Unix sockets aside; `undefined` where there can be none. */
  reserveSockets(): Promise<Reservation | undefined>;

  /** Starts a command as a process group of its own. Rejects with an error that says in words why it cannot be run. */
  start(command: HostCommand, onOutput: OutputListener): Promise<HostProcess>;
  /** Writes a session's process down, for whoever comes after a server that was killed. */
  recordProcess(session_id: string, pid: number): Promise<void>;
}

/** What is asked about a host before anything is launched on it. */
export type HostFacts = Pick<
  Host,
  "userName" | "workingDirectory" | "environment" | "findProgram"
>;

/** In which environment and directory a program is looked for. */
export interface Place {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
}

export interface FoundProgram {
  /** Absolute; `undefined` where the program does not exist. */
  readonly file: string | undefined;
  /** The directories that were searched, as they stand on the PATH. */
  readonly path: string;
}

export interface HostCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Variables;
  readonly cwd: string;
  /** Whether it will be interrupted by signal. */
  readonly interrupts: boolean;
}

export type OutputListener = (
  stream: "stdout" | "stderr",
  text: string,
) => void;

/** Why a command could not be started: `message` says it in words. */
export interface StartError extends Error {
  /** The system's number for it. */
  readonly errno?: number | undefined;
}

export interface HostProcess {
  readonly pid: number;
  readonly group: SignalledGroup;
  /** The variables that it was started with. */
  readonly env: Variables;
  readonly isRunning: boolean;
  /** Resolves once, with how it ended, after its last line. Never rejects. */
  readonly exited: Promise<Exit>;
  /** What it has printed so far, both streams in the order of arrival. */
  readonly output: string;
  /** Where it is now, where the system tells. */
  readonly directory: string | undefined;
  /** Whether it could run, rather than being stopped; false where the system does not tell. */
  readonly isScheduled: boolean;
}

/** A process and all that came of it, as one thing to signal. */
export interface SignalledGroup {
  interrupt(): Promise<SignalOutcome>;
  /** Looks for descendants that left the group, so that the others reach them when the leader has ended. */
  remember(): void;
  terminate(): Promise<SignalOutcome>;
  kill(): Promise<SignalOutcome>;
}
