/**
 * Launches a kernel on a host.
 *
 * A launch is: ports or a registration socket, a private connection file, the
 * environment, the process, its first answer. If any step fails, the process is
 * killed and reaped. If the kernel could not be reached at the addresses that it
 * was told to bind, it is started once more, with other addresses.
 */
import {
  type ConnectionInfo,
  failure,
  SupervisorError,
} from "../../contract/index.ts";
import type { Reservation } from "../host/address.ts";
import type { Exit } from "../host/exit.ts";
import type { Host, HostProcess, StartError } from "../host/host.ts";
import type { StartupCommand } from "../host/shell.ts";
import type { Faults } from "../log/faults.ts";
import type { Log } from "../log/log.ts";
import { rejectOnAbort } from "../time/signals.ts";
import { within } from "../time/within.ts";
import type { KernelTransport } from "../zmq/transport.ts";
import type { IpcSupport } from "./ipc.ts";
import type { Hooks, Kernel, Recipe } from "./kernel.ts";
import { bindCheckOf, type BindFailure } from "./bind-check.ts";
import { isFault } from "./fault.ts";
import { awaitRegistration, type Registration } from "./registration.ts";
import { RunningKernel } from "./running-kernel.ts";
import {
  answerFailure,
  commandFailure,
  type StartProgress,
  exitFailure,
  registrationFailure,
  stepFailure,
} from "./start-failure.ts";

/** How often a launch is tried with new ports if a port of the kernel was taken. */
const PORT_TRIES = 3;
/** How long a killed process may take to end. */
const REAP_MS = 5_000;

export interface LaunchOptions {
  readonly host: Host;
  readonly transport: KernelTransport;
  readonly log: Log;
  readonly faults: Faults;
}

/** Chooses the sockets that the session's kernel is told to bind. */
export interface SocketChoice {
  /** The addresses that are reserved for the kernel. Rejects if none is available. */
  reserve(): Promise<Reservation>;
  /** Releases the reserved addresses and removes the session's files. */
  release(): void;
  readonly support: IpcSupport;
  /** Remembers whether the kernel has bound its Unix sockets. */
  remember(support: "able" | "unable"): void;
}

interface LaunchNeeds extends LaunchOptions {
  readonly sockets: SocketChoice;
  readonly deadline: AbortSignal;
}

export async function launch(
  recipe: Recipe,
  hooks: Hooks,
  needs: LaunchNeeds,
): Promise<Kernel> {
  const { sockets, deadline, log } = needs;
  for (let tries = 1; ; tries += 1) {
    const withheld = withholdExit(hooks);
    const isLast = tries === PORT_TRIES;
    const attempt: Attempt = {
      ...needs,
      recipe,
      hooks: withheld.hooks,
      isLast,
    };
    try {
      const kernel = await attempted(attempt);
      if (kernel.connection.transport === "ipc") sockets.remember("able");
      withheld.release();
      return kernel;
    } catch (error) {
      const { bindFailure } = attempt;
      if (bindFailure === undefined || deadline.aborted || isLast) {
        withheld.release();
        throw error;
      }
      sockets.release();
      if (bindFailure === "ipc") {
        sockets.remember("unable");
        tries = 0; // no attempt with ports was made yet
      }
      log.warn({ session: recipe.session_id }, RETRY_MESSAGES[bindFailure]);
    }
  }
}

/** Log messages for a launch that is tried once more. */
const RETRY_MESSAGES = {
  ports:
    "Another program has taken a port that was reserved for the kernel. The kernel is started once more, with other ports",
  ipc: "The kernel has not bound its Unix sockets. It is started once more, with TCP ports, to which every user of this machine can connect",
} as const;

/** Why an attempt failed; reported only if no other attempt follows. */
const BIND_FAILURES = {
  ports: "another program has one of its ports",
  ipc: "it has not bound its Unix sockets",
} as const;

/** Reports the exit of an attempt's process only when no other attempt follows: for a session, all attempts are one run. */
function withholdExit(hooks: Hooks): { hooks: Hooks; release: () => void } {
  let kept: Exit | undefined;
  let isReleased = false;
  return {
    hooks: {
      ...hooks,
      exited(exit) {
        if (isReleased) hooks.exited(exit);
        else kept = exit;
      },
    },
    /** Reports the withheld exit. Later exits are reported at once. */
    release() {
      isReleased = true;
      if (kept !== undefined) hooks.exited(kept);
    },
  };
}

/** One attempt to start a process and to get its first answer. */
interface Attempt extends LaunchNeeds {
  readonly recipe: Recipe;
  readonly hooks: Hooks;
  /** Whether no other attempt follows. The last attempt may use all remaining time. */
  readonly isLast: boolean;
  /** Why it failed, if another attempt may succeed. */
  bindFailure?: BindFailure | undefined;
}

async function attempted(attempt: Attempt): Promise<Kernel> {
  if (!registersItself(attempt.recipe.protocol_version)) {
    const reservation = await reserved(attempt);
    const connection = connectionOf(reservation, attempt.recipe.key);
    const started = await start(attempt, connection);
    return await connected(attempt, started, { connection, reservation });
  }
  await using registration = await openRegistration(attempt);
  const { ip } = attempt.host;
  const file = registrationFile(ip, registration.port, attempt.recipe.key);
  const started = await start(attempt, file);
  const connection = await registered(attempt, started, registration);
  return await connected(attempt, started, { connection });
}

async function reserved({ recipe, sockets }: Attempt): Promise<Reservation> {
  const { session_id } = recipe;
  try {
    return await sockets.reserve();
  } catch (cause) {
    throw stepFailure("no_connection_info", { session_id }, cause);
  }
}

async function openRegistration({
  recipe,
  faults,
  host,
}: Attempt): Promise<Registration> {
  const { session_id, key } = recipe;
  try {
    return await awaitRegistration(key, host.ip, (why) =>
      faults.count("A registration was refused", why, { session: session_id }),
    );
  } catch (cause) {
    const what = "no socket for its registration";
    throw stepFailure("handshake_failed", { session_id, what }, cause);
  }
}

/** A started process, and its command. */
interface Started {
  readonly process: HostProcess;
  readonly command: StartupCommand;
}

async function start(attempt: Attempt, content: unknown): Promise<Started> {
  const { recipe, hooks, host, log } = attempt;
  const { session_id, env: actions, spec_env, language, limits } = recipe;
  const connection_file = await writtenFile(attempt, content);
  const requested = recipe.working_directory;
  const { path: cwd, reason } = await host.workingDirectory(requested);
  if (reason !== undefined) log.warn({ session: session_id }, reason);
  const env = host.environment({ actions, specEnv: spec_env, language });
  const command = await commandFor(attempt, connection_file, { cwd, env });
  const { program, args } = command;
  const interrupts = recipe.interrupt_mode === "signal";
  let process: HostProcess;
  try {
    process = await host.start(
      {
        program,
        args,
        env,
        cwd,
        interrupts,
        limits: {
          memory_bytes: limits?.memory_bytes ?? undefined,
          cpus: limits?.cpus ?? undefined,
        },
      },
      (stream, text) => hooks.output(stream, text),
    );
    hooks.launched({
      pid: process.pid,
      environment: process.env,
      working_directory: cwd,
      connection_file,
      kill: async () => {
        await process.group.kill();
      },
    });
  } catch (cause) {
    throw commandFailure(session_id, program, cause as StartError);
  }
  await record(attempt, process);
  if (process.isRunning) {
    const { pid } = process;
    log.info({ session: session_id, pid }, "Kernel process started");
  }
  return { process, command };
}

async function writtenFile(
  { recipe: { session_id }, host }: Attempt,
  content: unknown,
): Promise<string> {
  try {
    return await host.writeFile(session_id, content);
  } catch (cause) {
    const what = "its connection file could not be written";
    throw stepFailure("start_failed", { session_id, what }, cause);
  }
}

async function commandFor(
  { recipe, host, log }: Attempt,
  connection_file: string,
  where: Pick<Parameters<Host["startupCommand"]>[0], "cwd" | "env">,
): Promise<StartupCommand> {
  const { session_id } = recipe;
  const [program, ...args] = recipe.argv.map((word) =>
    word.replaceAll("{connection_file}", connection_file),
  );
  if (program === undefined) {
    const why = "it has no command: give `argv`, or adopt a kernel that runs";
    throw failure("start_failed", { session_id, why });
  }
  const command = await host.startupCommand({
    ...where,
    mode: recipe.startup_environment,
    arg: recipe.startup_environment_arg,
    argv: [program, ...args],
  });
  if ("missing_script" in command) {
    const why = `there is no start-up script ${command.missing_script}`;
    throw failure("start_failed", { session_id, why });
  }
  for (const warning of command.warnings) {
    log.warn({ session: session_id }, warning);
  }
  return command;
}

/** Records the process, so that the next server can end it if this one is killed. Without the record, the kernel still runs. */
async function record(
  { recipe: { session_id }, host, log }: Attempt,
  { pid }: HostProcess,
): Promise<void> {
  try {
    await host.recordProcess(session_id, pid);
  } catch (error) {
    log.warn(
      { session: session_id, err: error },
      "The kernel's process could not be recorded. If this server is killed, the next one cannot end the kernel",
    );
  }
}

/** Waits for the kernel's ports. The kernel may exit or stay silent instead. */
async function registered(
  { recipe, hooks, deadline }: Attempt,
  started: Started,
  registration: Registration,
): Promise<ConnectionInfo> {
  const { session_id } = recipe;
  const { process } = started;
  try {
    const connection = await Promise.race([
      registration.connection,
      process.exited.then((exit) => {
        const gone = { session_id, exit };
        const progress = progressOf(recipe, started);
        throw exitFailure("exited_before_handshake", gone, progress);
      }),
      rejectOnAbort(deadline),
    ]);
    hooks.registered(connection);
    return connection;
  } catch (error) {
    hooks.exited(await ended(process));
    if (error instanceof SupervisorError) throw error;
    const why = isFault(error, "bad_registration") ? error.message : undefined;
    const { unsigned } = registration;
    const progress = progressOf(recipe, started);
    throw registrationFailure(recipe, { why, unsigned, progress }, error);
  }
}

/** Connects and waits for the first answer. From here on, the running kernel reports the exit. */
async function connected(
  attempt: Attempt,
  started: Started,
  where: {
    readonly connection: ConnectionInfo;
    readonly reservation?: Reservation;
  },
): Promise<Kernel> {
  const { recipe, host, hooks, transport, sockets, isLast, deadline } = attempt;
  const { process } = started;
  const { session_id, timeout_ms } = recipe;
  const fitting = bindCheckOf({
    transport,
    reservation: where.reservation,
    support: sockets.support,
    timeout_ms,
    isLast,
    printed: () => process.output,
  });
  const kernel = new RunningKernel({
    recipe,
    connection: where.connection,
    process,
    platform: host.platform,
    transport: fitting.transport,
    hooks,
    log: attempt.log,
    faults: attempt.faults,
  });
  const over = new AbortController();
  try {
    attempt.bindFailure = await Promise.race([
      kernel.connect(deadline).then(() => fitting.afterAnswer()),
      kernel.exited.then(async (exit) => {
        const gone = { session_id, exit };
        const progress = progressOf(recipe, started);
        const failed = exitFailure("exited_during_start", gone, progress);
        attempt.bindFailure ??= await fitting.afterExit(exit);
        throw failed;
      }),
      fitting.failure(over.signal),
    ]);
    if (attempt.bindFailure === undefined) return kernel;
    throw new Error(BIND_FAILURES[attempt.bindFailure]);
  } catch (error) {
    attempt.bindFailure ??= fitting.afterError(error);
    await ended(process);
    await within(kernel.exited, REAP_MS);
    throw answerFailure(recipe, error, progressOf(recipe, started));
  } finally {
    over.abort();
  }
}

function progressOf(
  recipe: Recipe,
  { process, command }: Started,
): StartProgress {
  return {
    through: shellUsed(recipe, command.shell),
    hasMarkers: command.markers,
    printed: process.output,
  };
}

/** Kills the process and waits for its end. */
async function ended(process: HostProcess): Promise<Exit> {
  if (process.isRunning) await process.group.kill();
  const exit = await within(process.exited, REAP_MS);
  return exit ?? { exit_code: -1, signal: "SIGKILL", output: "" };
}

/** From version 5.5 on, a kernel registers its own ports. A version that is not two numbers counts as older. */
export function registersItself(protocol_version: string): boolean {
  const parts = /^(\d+)\.(\d+)$/.exec(protocol_version);
  if (parts === null) return false;
  const [major, minor] = [Number(parts[1]), Number(parts[2])];
  return major > 5 || (major === 5 && minor >= 5);
}

function registrationFile(ip: string, registration_port: number, key: string) {
  return {
    transport: "tcp",
    signature_scheme: "hmac-sha256",
    ip,
    key,
    registration_port,
    registration_ip: ip,
  };
}

export function connectionOf(
  { address }: Reservation,
  key: string,
): ConnectionInfo {
  return { ...address, signature_scheme: "hmac-sha256", key };
}

function shellUsed(
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
