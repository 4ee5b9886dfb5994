/**
 * The whole server, as one object that can be opened and closed. The commands
 * run it, programs embed it, and the tests connect to it.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import {
  type Kernelspec,
  type LimitsRequest,
  type LogLevel,
  NO_LIMITS,
  NO_POLICY,
  type PolicyChange,
} from "../contract/index.ts";
import { embeddedKernelspecs } from "./kernelspecs/embedded.ts";
import { type FaultListener, guardOf } from "./log/guard.ts";
import { watchIdle } from "./supervisor/idle.ts";
import { startCleanup } from "./host/dead-servers.ts";
import type { KernelSockets } from "./kernel/ipc.ts";
import type { Provisioner } from "./kernel/kernel.ts";
import { ConnectionFiles } from "./host/connection-files.ts";
import { localHost } from "./host/local.ts";
import { jupyterRuntimeDirectory } from "./kernelspecs/paths.ts";
import { publishing } from "./kernel/published.ts";
import { usageSampler } from "./host/usage.ts";
import { type Prespawn, WarmKernels } from "./kernel/warm.ts";
import { assertCpuLimit, warmRecipe } from "./server/answers/session-spec.ts";
import { hostProvisioner } from "./kernel/provisioner.ts";
import { limitingRunTime } from "./kernel/run-time.ts";
import { RuntimeFiles } from "./host/runtime-files.ts";
import { type TransportName, transportOf } from "./zmq/transport-of.ts";
import {
  type KernelspecSource,
  kernelspecFinder,
} from "./kernelspecs/kernelspecs.ts";
import { type Log, silentLog } from "./log/log.ts";
import { Faults } from "./log/faults.ts";
import { basePathOf } from "./server/base-path.ts";
import type { Address } from "./server/bind.ts";
import { ServerEvents } from "./server/events.ts";
import type { GateOptions } from "./server/gate.ts";
import { cookiesOf } from "./server/cookies.ts";
import { type HeldSocket, listen, type Listener } from "./server/listen.ts";
import type { Limits, Service } from "./server/answers/service.ts";
import { DiskBudget } from "./journal/disk-budget.ts";
import { MemoryBudget } from "./journal/memory-budget.ts";
import { nextReader } from "./journal/next-reader.ts";
import type { Kept, KeepEndedOptions, KeepOptions } from "./keep.ts";
import { limitsOf } from "./session/limits.ts";
import { changed } from "./session/policy.ts";
import { contained, type Telemetry } from "./telemetry/telemetry.ts";
import { Supervisor } from "./supervisor/supervisor.ts";
import { type EndedLimits, retainEnded } from "./supervisor/retention.ts";
import { restoreInTurn, type WaitingSession } from "./supervisor/restoring.ts";
import { watchUsage } from "./supervisor/usage-watch.ts";
import { COMPATIBLE_VERSION, VERSION } from "./package/version.ts";

export interface ServerOptions extends ServiceOptions {
  /** Where to listen. Default: on loopback, on a port that the system chooses. */
  readonly address?: Address;
  /** The path under which every protocol is served, such as `/user/ann`. Default: `/`. Throws if it is not a path. */
  readonly basePath?: string | undefined;
  /** Keeps sessions and their kernels when the server ends or is killed: the next server with the same state goes on with them. Default: they end with the server. */
  readonly keep?: KeepOptions | undefined;
  /** Set if another process holds the listening socket, and servers come and go behind it. Default: the socket is the server's own. */
  readonly heldSocket?: HeldSocket | undefined;
}

export type { HeldSocket };

/** The options that do not depend on the address. */
export interface ServiceOptions {
  /** The token that clients must send. Default: a random token. `null`: no token is needed. */
  readonly token?: string | null;
  /** Whether a token other than the server's own is accepted, which somebody else has given out, such as a JupyterHub. Default: none is. */
  readonly acceptsToken?: GateOptions["acceptsToken"];
  /** Additional host names that clients may use for the server, without port; `*`: all, if a token is needed. */
  readonly hosts?: readonly string[];
  /** Other origins whose pages may use the server. */
  readonly origins?: readonly string[];
  /** Whether pages that show the token in their address get cookies that stand for it. Default: no. */
  readonly cookies?: boolean | undefined;
  /** The scopes of a client that has the token, decided from its request. Default: all scopes. Not called for clients that open a session's own Unix socket. */
  readonly scopesOf?: GateOptions["scopesOf"];
  /** Receives what happens, for metrics and traces. Default: no listener. */
  readonly telemetry?: Telemetry;
  readonly log?: Log;
  /** Directories that are searched for kernelspecs before all others. */
  readonly kernelspecDirs?: readonly string[];
  /** The kernelspec of a kernel whose client names none. Default: a Python. */
  readonly defaultKernel?: string | undefined;
  /** How many kernels may run at one time. Default: any number. */
  readonly maxKernels?: number | undefined;
  /** Starts the kernels, instead of the server's own provisioner, which starts them as processes on this machine. */
  readonly provisioner?: Provisioner;
  /** The source of kernelspecs, instead of Jupyter's paths. */
  readonly kernelspecs?: KernelspecSource;
  /** Kernels that are offered in addition to the kernelspecs. Default: the embedded Python. */
  readonly embedded?: readonly Kernelspec[];
  /** The environment that kernels inherit. The server also looks up programs, kernelspecs, the shell and the home directory in it. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Hours without use after which the server ends; 0: 30 seconds. Default: never. */
  readonly idleShutdownHours?: number | undefined;
  /** Milliseconds; 0: off. Default: 1000. */
  readonly resourceSampleIntervalMs?: number | undefined;
  readonly logLevel?: LogLevel;
  /** Called when a client sets the level. */
  readonly onLogLevel?: (level: LogLevel) => void;
  readonly limits?: Partial<Limits>;
  /** The default policy of sessions: when unused kernels are shut down, and whether kernels that die are started again. Default: neither. */
  readonly policy?: PolicyChange;
  /** What each session's kernel may use at most; a client can ask for less. Default: no limits. */
  readonly sessionLimits?: LimitsRequest | undefined;
  /** Called with a bug of the server that was caught. The affected operation has ended or was dropped, and the server continues. The log has details. */
  readonly onFault?: FaultListener | undefined;
  /** The implementation of ZeroMQ for the kernels' sockets. */
  readonly transport?: TransportName;
  /** TCP ports for kernels (`tcp`, the default) or Unix sockets (`ipc`); `auto`: Unix sockets for the kernels that can use them. */
  readonly kernelSockets?: KernelSockets | undefined;
  /** The process that lives as long as clients may use the server, which `GET /status` names. Default: this one. */
  readonly processId?: number | undefined;
  /** The Kallichore version that the server reports. */
  readonly reportedVersion?: string | undefined;
  /** The directory in which the server makes its own directory for private files (connection files, sockets). */
  readonly runtimeDirectory?: string | undefined;
  /** The directory in which Jupyter's tools find the connection files of kernels. The server also reads those of other programs there. Default: Jupyter's runtime directory. `null`: none. */
  readonly jupyterRuntimeDirectory?: string | null | undefined;
  /** Warm kernels: they are started before a session asks for one, so that it has one at once. Default: none. */
  readonly prespawn?: readonly Prespawn[];
}

export type { KeepOptions };

const MIB = 1024 * 1024;
const LIMITS: Limits = {
  journal_memory_bytes: 64 * MIB,
  server_memory_bytes: 256 * MIB,
  journal_disk_bytes: 1024 * MIB,
  server_disk_bytes: 4096 * MIB,
  reader_buffer_bytes: MIB,
  reader_timeout_ms: 60_000,
};

/** Dispose of it to end it: the kernels end, then the doors close. */
export interface RunningServer {
  readonly address: Address;
  /** `http://host:port`, and the base path; `undefined` on a Unix socket or a pipe. */
  readonly url: string | undefined;
  /** The path under which the server answers, without a slash at its end; empty: none. */
  readonly basePath: string;
  /** `undefined`: no token is needed. */
  readonly token: string | undefined;
  readonly supervisor: Supervisor;
  /** The listening socket, for a process that holds it: see `heldSocket`. */
  readonly handle: unknown;
  /** Resolves with the reason when a client has requested the end of the server, or when it has been idle for too long. */
  readonly shutdownRequested: Promise<string>;
  /** Ends the server, and leaves kept sessions with their kernels to the next server with the same state. Other kernels end. Without `keep`, all end. */
  letGo(): Promise<void>;
  /** Removes the server's files at once, for a process that can no longer wait. It does not end the kernels. */
  removeFiles(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Resolves when the server can answer. */
export function startServer(
  options: ServerOptions = {},
): Promise<RunningServer> {
  return withFiles(options, async (files) => {
    const kept = await keptBy(options);
    try {
      return await started(options, files, kept);
    } catch (error) {
      kept?.letGo();
      throw error;
    }
  });
}

/** Loads what keeps sessions only for a server that does. */
async function keptBy(options: ServerOptions): Promise<Kept | undefined> {
  const { keep, limits, token, log = silentLog() } = options;
  if (keep === undefined) return undefined;
  if (limits?.journal_disk_bytes === 0 || limits?.server_disk_bytes === 0) {
    throw new Error(
      "Sessions are kept on disk: allow their journals to use it",
    );
  }
  const { openKept } = await import("./keep.ts");
  const { env = process.env, transport, kernelSockets } = options;
  const { runtimeDirectory } = options;
  const kernels = { env, transport, kernelSockets, runtimeDirectory, log };
  return openKept(keep, token, kernels);
}

async function started(
  options: ServerOptions,
  files: RuntimeFiles,
  kept: Kept | undefined,
): Promise<RunningServer> {
  const basePath = basePathOf(options.basePath ?? "/");
  const { path } = basePath;
  const { service, shutdownRequested } = serviceOf(options, files, path, kept);
  const { supervisor, log, connectionFiles } = service;
  const token =
    kept === undefined
      ? tokenOf(options)
      : (kept.state.server.token ?? undefined);
  // All are listed when the server answers first. What they were doing is found out then.
  const restoring: WaitingSession[] = [];
  for (const { store, saved } of (await kept?.state.sessions()) ?? []) {
    let begin: () => void = () => {};
    const turn = new Promise<void>((resolve) => (begin = resolve));
    const { restored } = supervisor.restore(saved, store, turn);
    restoring.push({ begin, restored });
  }
  const listenAt = (address: Address) =>
    listen(service, {
      address,
      basePath,
      token,
      hosts: options.hosts ?? [],
      origins: options.origins ?? [],
      cookies: options.cookies === true ? cookiesOf(token, path) : undefined,
      scopesOf: options.scopesOf,
      acceptsToken: options.acceptsToken,
      socketDirectory: () => files.ensure(),
      held: options.heldSocket,
    });
  const listener = await listening(options, kept, listenAt);
  const { address, handle } = listener;
  kept?.state.listens(address.transport === "tcp" ? address.port : null);
  void restoreInTurn(restoring); // never rejects
  const own = address.transport === "socket" ? [dirname(address.path)] : [];
  const stopCleanup = startCleanup(
    [...files.parents, ...own],
    log,
    connectionFiles,
  );
  const retention = kept && retaining(service, options.keep?.ended);
  service.warm.begin();
  let closed: Promise<void> | undefined;
  let isClosed = false;
  let isLeft = false;
  const close = async (isLetGo: boolean) => {
    retention?.[Symbol.dispose]();
    if (isLetGo) {
      // The next server waits for this part alone.
      await listener.letGo();
      await supervisor.letGo();
      kept?.letGo();
    }
    await endService(service);
    await listener[Symbol.asyncDispose]();
    await stopCleanup();
    if (!isLetGo) await kept?.end();
    files[Symbol.dispose]();
    isClosed = true;
  };
  return {
    address,
    url: urlOf(address, path),
    basePath: path,
    token,
    supervisor,
    handle,
    shutdownRequested,
    removeFiles() {
      if (isClosed) return; // another server may use the path by now
      files[Symbol.dispose]();
      connectionFiles?.[Symbol.dispose]();
      if (address.transport === "socket" && !isLeft) {
        rmSync(address.path, { force: true });
      }
    },
    letGo() {
      isLeft = true; // another server may use the path
      return (closed ??= close(true));
    },
    [Symbol.asyncDispose]: () => (closed ??= close(false)),
  };
}

const DAY_MS = 86_400_000;

/** Deletes sessions whose kernels have ended, beyond the limits. */
function retaining(
  { supervisor, limits, log, faults }: Service,
  { sessions = 100, days = 30, bytes, delay_ms }: KeepEndedOptions = {},
): Disposable {
  const limit = (value: number) => (value === 0 ? Infinity : value);
  const ended: EndedLimits = {
    count: limit(sessions),
    age_ms: limit(days * DAY_MS),
    bytes: limit(bytes ?? limits.server_disk_bytes / 2),
  };
  return retainEnded({ supervisor, limits: ended, log, faults, delay_ms });
}

/** A server that keeps sessions listens on the port of the one before, unless it is told another or the port is taken. */
async function listening(
  { address = LOOPBACK }: ServerOptions,
  kept: Kept | undefined,
  listenAt: (address: Address) => Promise<Listener>,
): Promise<Listener> {
  const before = kept?.state.server.port ?? 0;
  if (address.transport === "tcp" && address.port === 0 && before !== 0) {
    try {
      return await listenAt({ ...address, port: before });
    } catch (error) {
      const { code = "" } = error as NodeJS.ErrnoException;
      if (!["EADDRINUSE", "EACCES"].includes(code)) throw error;
    }
  }
  return listenAt(address);
}

const LOOPBACK = { transport: "tcp", host: "127.0.0.1", port: 0 } as const;

function urlOf(address: Address, basePath: string): string | undefined {
  if (address.transport !== "tcp") return undefined;
  const { host, port } = address;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}${basePath}`;
}

/** Opens something that owns the private files. If it does not open, the files are removed. */
export async function withFiles<T>(
  { runtimeDirectory }: ServiceOptions,
  open: (files: RuntimeFiles) => T | Promise<T>,
): Promise<T> {
  const files = new RuntimeFiles(runtimeDirectory);
  try {
    return await open(files);
  } catch (error) {
    files[Symbol.dispose]();
    throw error;
  }
}

/** The parts that the doors use. They are the same for a server with a port and for an embedded one. */
export function serviceOf(
  options: ServiceOptions,
  files: RuntimeFiles,
  basePath: string,
  kept?: Kept,
): { readonly service: Service; readonly shutdownRequested: Promise<string> } {
  const log = options.log ?? silentLog();
  const faults = new Faults(log);
  const env = options.env ?? process.env;
  const limits = { ...LIMITS, ...options.limits };
  const policy = changed(NO_POLICY, options.policy);
  const sessionLimits = limitsOf(options.sessionLimits, NO_LIMITS);
  const host = localHost({ files, log, env });
  if (sessionLimits.cpus !== null) assertCpuLimit(host);
  const connectionFiles = connectionFilesOf(options, log);
  const kernelspecs =
    options.kernelspecs ??
    kernelspecFinder({
      extraDirs: options.kernelspecDirs ?? [],
      env,
      preferred: options.defaultKernel,
      embedded: () => options.embedded ?? embeddedKernelspecs(),
    });
  const newId = (bytes: number) => randomBytes(bytes).toString("hex");
  const warm = new WarmKernels({
    provisioner:
      options.provisioner ??
      hostProvisioner({
        host,
        transport: transportOf(options.transport),
        log,
        faults,
        sockets: options.kernelSockets ?? "tcp",
      }),
    host,
    log,
    prespawn: options.prespawn ?? [],
    room: options.maxKernels === undefined ? undefined : () => supervisor.room,
    recipeOf: (wanted, name) =>
      warmRecipe(wanted, name, {
        host,
        kernelspecs,
        policy,
        sessionLimits,
        newId,
      }),
  });
  const isOnThisMachine = options.provisioner === undefined;
  const published = (provisioner: Provisioner): Provisioner =>
    isOnThisMachine && connectionFiles !== undefined
      ? publishing(provisioner, connectionFiles)
      : provisioner;
  const provisioner = published(limitingRunTime(warm, faults));
  const telemetry = contained(options.telemetry ?? {}, (error) =>
    faults.caught("A listener to telemetry failed", error),
  );
  const events = new ServerEvents();
  const supervisor: Supervisor = new Supervisor({
    culling: {
      warned: (session, in_s) => events.culling(session, in_s),
      culled: (session) => events.acted("shutdown", session),
      failed: (session, error) => events.failed("shutdown", session, error),
    },
    provisioner,
    log,
    faults,
    telemetry,
    maxKernels: options.maxKernels,
    keeping: kept && {
      server_id: kept.state.server.server_id,
      provisioner: published(kept.provisioner(faults)),
      create: (session_id) => kept.state.create(session_id),
    },
    journal: {
      memory: limits.journal_memory_bytes,
      disk: limits.journal_disk_bytes,
      budget: new MemoryBudget(limits.server_memory_bytes),
      diskBudget: new DiskBudget(limits.server_disk_bytes),
      schedule: nextReader,
      directory: () => files.ensure(),
    },
  });
  let shutDown: (reason: string) => void = () => {};
  const shutdownRequested = new Promise<string>(
    (resolve) => (shutDown = resolve),
  );
  const guard = guardOf(log, options.onFault);
  supervisor.onChange((session) => {
    events.changed(session);
    warm.roomChanged();
  });
  let logLevel = options.logLevel ?? "info";
  const service: Service = {
    supervisor,
    log,
    faults,
    guard,
    telemetry,
    limits,
    basePath,
    kernelspecs,
    host,
    events,
    policy,
    sessionLimits,
    newId,
    warm,
    sampleUsage: (roots) => usageSampler().sample(roots),
    connectionFiles,
    idle: watchIdle({
      supervisor,
      log,
      guard,
      hours: options.idleShutdownHours,
      expired: () => shutDown("the server has been idle for too long"),
    }),
    usage: watchUsage(
      supervisor,
      log,
      options.resourceSampleIntervalMs ?? 1000,
    ),
    processId: options.processId ?? process.pid,
    reportedVersion: options.reportedVersion ?? COMPATIBLE_VERSION,
    version: VERSION,
    get logLevel() {
      return logLevel;
    },
    set logLevel(level) {
      logLevel = level;
      options.onLogLevel?.(level);
    },
    shutDown: (reason) => shutDown(reason),
  };
  return { service, shutdownRequested };
}

function connectionFilesOf(
  { jupyterRuntimeDirectory: wanted, env }: ServiceOptions,
  log: Log,
): ConnectionFiles | undefined {
  if (wanted === null) return undefined;
  const directory =
    wanted ?? jupyterRuntimeDirectory(env === undefined ? {} : { env });
  return new ConnectionFiles(directory, log);
}

/** Ends the sessions before the doors close, so that clients still receive how their kernels end. */
export async function endService(service: Service): Promise<void> {
  const { supervisor, warm } = service;
  service.idle[Symbol.dispose]();
  service.usage[Symbol.dispose]();
  await Promise.all([
    supervisor[Symbol.asyncDispose](),
    warm[Symbol.asyncDispose](),
  ]);
  service.connectionFiles?.[Symbol.dispose]();
  // Readers have left the journals. The end of their subscriptions is sent in this turn of the event loop.
  await new Promise((resolve) => setImmediate(resolve));
}

/** `undefined`: no token is needed. */
export function tokenOf({ token }: ServiceOptions): string | undefined {
  return token === null
    ? undefined
    : (token ?? randomBytes(32).toString("hex"));
}
