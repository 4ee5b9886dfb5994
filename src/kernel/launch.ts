/**
 * One attempt to launch a kernel: ports or a registration socket, a private
 * connection file, the environment, the process, its first answer. Whatever
 * fails on the way, what was started is killed and reaped.
 */
import { getSystemErrorMap } from "node:util";
import {
  type ConnectionInfo,
  failure,
  type Reason,
  SupervisorError,
} from "../../contract/index.ts";
import { Signer } from "../jupyter/frames.ts";
import { aborted } from "../time/signals.ts";
import { kernelEnvironment } from "../host/environment.ts";
import type { Exit } from "../host/exit.ts";
import type { Hooks, Kernel, Recipe } from "./kernel.ts";
import { KernelProcess } from "../host/process.ts";
import { complainsOf, isAnyTaken, PortWatch } from "./port-watch.ts";
import { PortReservation } from "../host/ports.ts";
import {
  awaitRegistration,
  BadRegistration,
  type Registration,
} from "./registration.ts";
import { ChannelLost, RunningKernel } from "./running-kernel.ts";
import {
  STARTUP_BEGIN,
  STARTUP_SUCCESS,
  startupCommand,
} from "../host/shell.ts";
import { within } from "../time/within.ts";
import { workingDirectory } from "../host/working-directory.ts";
import { IpcReservation } from "../host/unix-sockets.ts";
import type { LaunchOptions, Reservation } from "./provisioner.ts";

/** How long a kernel that was never seen with Unix sockets may take to bind them; at most half of the time that its start has. */
const IPC_PATIENCE_MS = 10_000;
/** How long a killed process may take to be gone. */
const REAP_MS = 5_000;

/** Keeps back that an attempt's process has exited, until it is known that no other attempt follows: to a session, all of them are one run. */
export class HeldExit {
  readonly hooks: Hooks;
  readonly #tell: (exit: Exit) => void;
  #exit: Exit | undefined;
  #isTold = false;

  constructor(hooks: Hooks) {
    this.#tell = (exit) => hooks.exited(exit);
    this.hooks = {
      ...hooks,
      exited: (exit) => {
        if (this.#isTold) this.#tell(exit);
        else this.#exit = exit;
      },
    };
  }

  /** What was kept back, and from now on everything at once. */
  tell(): void {
    this.#isTold = true;
    if (this.#exit !== undefined) this.#tell(this.#exit);
  }
}

interface AttemptOptions extends LaunchOptions {
  readonly reserve: () => Promise<Reservation>;
  /** Whether the kernel is known to bind Unix sockets. */
  readonly support: "able" | "unable" | "unknown";
  /** No other attempt follows: it has all the time that there is. */
  readonly isLast: boolean;
}

/** One attempt to start a process and to hear from it. */
export class Launch {
  /** What it failed for, where another attempt may do better: a port is somebody else's, or the kernel does not use Unix sockets. */
  misfit: "ports" | "ipc" | undefined;
  readonly #recipe: Recipe;
  readonly #hooks: Hooks;
  readonly #options: AttemptOptions;
  #reservation: Reservation | undefined;
  #process: KernelProcess | undefined;
  #context: string | undefined;
  #hasMarkers = false;

  constructor(recipe: Recipe, hooks: Hooks, options: AttemptOptions) {
    this.#recipe = recipe;
    this.#hooks = hooks;
    this.#options = options;
  }

  get usesIpc(): boolean {
    return this.#reservation instanceof IpcReservation;
  }

  async run(deadline: AbortSignal): Promise<Kernel> {
    const { session_id, key } = this.#recipe;
    const registers = registersItself(this.#recipe.protocol_version);
    await using registration = registers
      ? await this.#openRegistration()
      : undefined;
    const chosen = registers ? undefined : await this.#chosen();
    const file = await this.#writeFile(
      chosen ?? registrationFile(registration?.port ?? 0, key),
    );
    this.#process = await this.#spawn(file);
    await this.#record(this.#process);
    if (this.#process.isRunning) {
      this.#options.log.info(
        { session: session_id, pid: this.#process.pid },
        "Kernel process started",
      );
    }
    const connection =
      chosen ?? (await this.#registered(registration, deadline));
    return await this.#introduced(connection, deadline);
  }

  async #chosen(): Promise<ConnectionInfo> {
    const { session_id, key } = this.#recipe;
    try {
      this.#reservation = await this.#options.reserve();
    } catch (cause) {
      const why = messageOf(cause);
      throw failure("no_connection_info", { session_id, why }, { cause });
    }
    return connectionOf(this.#reservation, key);
  }

  async #openRegistration(): Promise<Registration> {
    const { session_id, key } = this.#recipe;
    try {
      return await awaitRegistration(key, new Signer(key), (why) => {
        const { faults } = this.#options;
        faults.count("A registration was refused", why, {
          session: session_id,
        });
      });
    } catch (cause) {
      const why = `no socket for its registration: ${messageOf(cause)}`;
      throw failure("handshake_failed", { session_id, why }, { cause });
    }
  }

  async #writeFile(content: unknown): Promise<string> {
    const { session_id } = this.#recipe;
    try {
      return await this.#options.files.write(session_id, content);
    } catch (cause) {
      const why = `its connection file could not be written: ${messageOf(cause)}`;
      throw failure("start_failed", { session_id, why }, { cause });
    }
  }

  /** For the next server, where this one is killed. A kernel runs as well without. */
  async #record({ pid }: KernelProcess): Promise<void> {
    const { session_id } = this.#recipe;
    const { files, log } = this.#options;
    try {
      await files.recordProcess(session_id, pid);
    } catch (error) {
      log.warn(
        { session: session_id, err: error },
        "The kernel's process could not be written down",
      );
    }
  }

  async #spawn(connection_file: string): Promise<KernelProcess> {
    const { session_id, startup_environment, startup_environment_arg } =
      this.#recipe;
    const { env: base, jobs, log } = this.#options;
    const cwd = await workingDirectory(this.#recipe.working_directory, {
      env: base,
    });
    if (cwd.reason !== undefined) log.warn({ session: session_id }, cwd.reason);
    const env = kernelEnvironment({
      base,
      actions: this.#recipe.env,
      specEnv: this.#recipe.spec_env,
      language: this.#recipe.language,
    });
    if (process.platform !== "win32") {
      env["JPY_PARENT_PID"] = String(process.pid); // so that a kernel ends when we are killed
    }
    const [program, ...args] = this.#recipe.argv.map((word) =>
      word.replaceAll("{connection_file}", connection_file),
    );
    if (program === undefined) {
      const why = "it has no command; a kernel for it can only be adopted";
      throw failure("start_failed", { session_id, why });
    }
    const command = await startupCommand({
      mode: startup_environment,
      arg: startup_environment_arg,
      argv: [program, ...args],
      cwd: cwd.path,
      env,
      serverShell: base["SHELL"],
    });
    if ("missing_script" in command) {
      const why = `there is no start-up script ${command.missing_script}`;
      throw failure("start_failed", { session_id, why });
    }
    for (const warning of command.warnings) {
      log.warn({ session: session_id }, warning);
    }
    this.#hasMarkers = command.markers;
    this.#context = contextOf(this.#recipe, command.shell);
    const job = await jobs.make({
      interrupts: this.#recipe.interrupt_mode === "signal",
    });
    try {
      const { program, args } = command;
      const started = await KernelProcess.spawn(
        { program, args, env, cwd: cwd.path, job },
        (stream, text) => this.#hooks.output(stream, text),
      );
      this.#hooks.launched({
        pid: started.pid,
        environment: { ...env, ...job?.variables },
        working_directory: cwd.path,
        connection_file,
        kill: async () => {
          await started.group.kill();
        },
      });
      return started;
    } catch (cause) {
      throw spawnFailure(session_id, command.program, cause);
    }
  }

  /** Waits for the kernel's ports; it may exit or say nothing instead. */
  async #registered(
    registration: Registration | undefined,
    deadline: AbortSignal,
  ): Promise<ConnectionInfo> {
    const { session_id } = this.#recipe;
    const process = this.#process;
    if (registration === undefined || process === undefined) {
      throw new Error("a registration without a socket or a process");
    }
    try {
      const connection = await Promise.race([
        registration.connection,
        process.exited.then((exit) => {
          throw this.#exitFailure("exited_before_handshake", exit);
        }),
        aborted(deadline),
      ]);
      this.#hooks.registered(connection);
      return connection;
    } catch (error) {
      const exit = await this.#end();
      this.#hooks.exited(exit);
      if (error instanceof SupervisorError) throw error;
      const why =
        error instanceof BadRegistration
          ? error.message
          : `${this.#lateness("register its ports")}${strangersIn(registration)}`;
      const options = { cause: error, startup: this.#startup(undefined) };
      throw failure("handshake_failed", { session_id, why }, options);
    }
  }

  /** Connects and waits for the first answer. From here on the running kernel tells of the exit. */
  async #introduced(
    connection: ConnectionInfo,
    deadline: AbortSignal,
  ): Promise<Kernel> {
    const { log, faults } = this.#options;
    const ports =
      this.#reservation instanceof PortReservation
        ? new PortWatch(this.#options.transport)
        : undefined;
    const kernel = new RunningKernel({
      recipe: this.#recipe,
      connection,
      process: this.#process,
      transport: ports ?? this.#options.transport,
      hooks: this.#hooks,
      log,
      faults,
    });
    const over = new AbortController();
    try {
      await Promise.race([
        kernel.introduce(deadline),
        kernel.exited.then(async (exit) => {
          const failed = this.#exitFailure("exited_during_start", exit);
          this.misfit ??= await this.#misfitOf(exit);
          throw failed;
        }),
        this.#misfits(ports, over.signal),
      ]);
      if (!this.#options.isLast && (await ports?.leadsToStranger()) === true) {
        throw new Misfit("ports");
      }
      return kernel;
    } catch (error) {
      if (error instanceof Misfit) this.misfit = error.kind;
      else if (ports !== undefined && error instanceof ChannelLost) {
        this.misfit = "ports"; // somebody else answers at one of them
      } else if (ports?.hasRefused === true) this.misfit = "ports";
      await this.#end();
      await within(kernel.exited, REAP_MS);
      if (error instanceof SupervisorError) throw error;
      throw startFailure(this.#recipe, error, "answer `kernel_info_request`", {
        details: this.#details("the kernel failed to connect"),
        startup: this.#startup(CONNECTION_EXIT_CODE),
      });
    } finally {
      over.abort();
    }
  }

  /** Rejects with a `Misfit` once it is clear that the kernel will not be reached like this; pends otherwise. */
  async #misfits(
    ports: PortWatch | undefined,
    signal: AbortSignal,
  ): Promise<never> {
    const { isLast, support } = this.#options;
    const printed = () => this.#process?.output ?? "";
    if (this.#reservation instanceof IpcReservation) {
      const { timeout_ms = Infinity } = this.#recipe;
      const patience_ms = Math.min(IPC_PATIENCE_MS, timeout_ms / 2);
      const bound = this.#reservation.bound(signal).then(() => true);
      const isSure = support === "able" || isLast;
      this.#isBound =
        (await (isSure ? bound : within(bound, patience_ms))) === true;
      if (!this.#isBound) throw new Misfit("ipc");
    } else if (ports !== undefined && !isLast) {
      if (await ports.lost(printed, signal)) throw new Misfit("ports");
    }
    return new Promise<never>(() => {});
  }
  #isBound = false;

  /** What may have made the kernel exit. */
  async #misfitOf({ signal }: Exit): Promise<"ports" | "ipc" | undefined> {
    if (signal !== null) return undefined; // somebody killed it
    const reservation = this.#reservation;
    const printed = this.#process?.output ?? "";
    if (reservation instanceof PortReservation) {
      const ports = Object.values(reservation.ports) as number[];
      const isTaken = complainsOf(ports, printed) || (await isAnyTaken(ports));
      return isTaken ? "ports" : undefined;
    }
    if (reservation === undefined || this.#isBound) return undefined;
    const isTold =
      /\bipc\b/i.test(printed) || printed.includes(reservation.address.ip);
    const isLikely =
      this.#options.support === "unknown" && OF_SOCKETS.test(printed);
    return isTold || isLikely ? "ipc" : undefined;
  }

  /** Kills what runs and waits until it is gone. */
  async #end(): Promise<Exit> {
    const process = this.#process;
    if (process?.isRunning === true) await process.group.kill();
    const exit =
      process === undefined ? undefined : await within(process.exited, REAP_MS);
    return exit ?? { exit_code: -1, signal: "SIGKILL", output: "" };
  }

  #exitFailure(
    reason: "exited_before_handshake" | "exited_during_start",
    exit: Exit,
  ): SupervisorError {
    const { session_id } = this.#recipe;
    const why =
      exit.signal === null
        ? `exit code ${exit.exit_code}`
        : `signal ${exit.signal}`;
    return failure(
      reason,
      { session_id, why },
      {
        details: this.#details("the kernel failed to start"),
        startup: this.#startup(exit.exit_code),
      },
    );
  }

  #lateness(what: string): string {
    const seconds = (this.#recipe.timeout_ms ?? 0) / 1000;
    return `it did not ${what} within ${seconds} s`;
  }

  #startup(exit_code: number | undefined) {
    const printed = this.#process?.output ?? "";
    const output = printed
      .split("\n")
      .filter((line) => !MARKERS.includes(line.trimEnd()))
      .join("\n");
    return { exit_code, output };
  }

  /** In which shell, after which command, and how far it came. */
  #details(otherwise: string): string {
    const printed = this.#process?.output ?? "";
    let phase = otherwise;
    if (this.#hasMarkers && !printed.includes(STARTUP_BEGIN)) {
      phase = "the shell failed before it came to the start-up command";
    } else if (this.#hasMarkers && !printed.includes(STARTUP_SUCCESS)) {
      phase = "the start-up command failed";
    }
    return [this.#context, phase].filter(Boolean).join("\n");
  }
}

/** The attempt is given up, because the kernel cannot be reached where it was told to bind. */
class Misfit extends Error {
  override readonly name = "Misfit";
  readonly kind: "ports" | "ipc";

  constructor(kind: "ports" | "ipc") {
    super(
      kind === "ports"
        ? "another program has one of its ports"
        : "it has not bound its Unix sockets",
    );
    this.kind = kind;
  }
}

/** What a kernel may print that cannot use the address that it was given. */
const OF_SOCKETS = /zmq|\bbind|endpoint|transport|protocol|address/i;

const MARKERS = [STARTUP_BEGIN, STARTUP_SUCCESS];
/** What Kallichore reports as the exit code of a kernel that runs and cannot be reached. */
const CONNECTION_EXIT_CODE = 130;

/** From 5.5 on a kernel reports its own ports. Two numbers only; anything else is an older one. */
function registersItself(protocol_version: string): boolean {
  const parts = /^(\d+)\.(\d+)$/.exec(protocol_version);
  if (parts === null) return false;
  const [major, minor] = [Number(parts[1]), Number(parts[2])];
  return major > 5 || (major === 5 && minor >= 5);
}

/** What may explain that nothing was heard. */
function strangersIn({ strangers }: Registration): string {
  return strangers === 0
    ? ""
    : `; ${strangers} messages came that were not signed with its key`;
}

function registrationFile(registration_port: number, key: string) {
  return {
    transport: "tcp",
    signature_scheme: "hmac-sha256",
    ip: "127.0.0.1",
    key,
    registration_port,
    registration_ip: "127.0.0.1",
  };
}

export function connectionOf(
  { address }: Reservation,
  key: string,
): ConnectionInfo {
  return { ...address, signature_scheme: "hmac-sha256", key };
}

function contextOf(
  { startup_environment, startup_environment_arg }: Recipe,
  shell: string | undefined,
): string | undefined {
  if (shell === undefined) return undefined;
  const through = `shell: ${shell}`;
  return startup_environment_arg === undefined ||
    startup_environment === "shell"
    ? through
    : `${through}\n${startup_environment}: ${startup_environment_arg}`;
}

function spawnFailure(
  session_id: string,
  program: string,
  cause: unknown,
): SupervisorError {
  const { errno, code, syscall } = cause as NodeJS.ErrnoException;
  // Node's own message is the bare code.
  const [, words] = getSystemErrorMap().get(errno ?? 0) ?? [];
  const isBare = words !== undefined && syscall !== undefined;
  const why = isBare ? `${words} (${code})` : messageOf(cause);
  return failure(
    "start_failed",
    { session_id, why: `${program} cannot be run: ${why}` },
    {
      cause,
      startup: { exit_code: errno === undefined ? undefined : Math.abs(errno) },
    },
  );
}

/** What went wrong between a process that runs and its first answer. */
export function startFailure(
  { session_id, timeout_ms }: Recipe,
  error: unknown,
  what: string,
  options: {
    details?: string;
    startup?: { exit_code: number | undefined; output: string };
  } = {},
): SupervisorError {
  if (error instanceof SupervisorError) return error;
  const isLate = error instanceof Error && error.name === "TimeoutError";
  const reason: Reason & ("connection_timeout" | "connection_failed") = isLate
    ? "connection_timeout"
    : "connection_failed";
  const why = isLate
    ? `it did not ${what} within ${(timeout_ms ?? 0) / 1000} s`
    : messageOf(error);
  return failure(reason, { session_id, why }, { cause: error, ...options });
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
