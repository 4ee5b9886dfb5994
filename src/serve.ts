/**
 * The whole server, as one thing that can be opened and closed: what the
 * commands run, what a program embeds, what the tests talk to.
 */
import { randomBytes } from "node:crypto";
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import {
  type Kernelspec,
  type LogLevel,
  NO_POLICY,
  type PolicyChange,
} from "../contract/index.ts";
import { embeddedKernelspecs } from "./kernelspecs/embedded.ts";
import { type FaultListener, guardOf } from "./log/guard.ts";
import { watchIdle } from "./supervisor/idle.ts";
import { startCleanup } from "./host/dead-servers.ts";
import type { KernelSockets } from "./kernel/ipc.ts";
import type { Provisioner } from "./kernel/kernel.ts";
import { localHost } from "./host/local.ts";
import { hostProvisioner } from "./kernel/provisioner.ts";
import { RuntimeFiles } from "./host/runtime-files.ts";
import { type TransportName, transportOf } from "./zmq/transport-of.ts";
import {
  type KernelspecSource,
  kernelspecFinder,
} from "./kernelspecs/kernelspecs.ts";
import { type Log, silentLog } from "./log/log.ts";
import { Faults } from "./log/faults.ts";
import type { Address } from "./server/bind.ts";
import type { GateOptions } from "./server/gate.ts";
import { listen } from "./server/listen.ts";
import type { Limits, Service } from "./server/answers/service.ts";
import { DiskBudget } from "./journal/disk-budget.ts";
import { MemoryBudget } from "./journal/memory-budget.ts";
import { nextReader } from "./journal/next-reader.ts";
import { changed } from "./session/policy.ts";
import { contained, type Telemetry } from "./telemetry/telemetry.ts";
import { Supervisor } from "./supervisor/supervisor.ts";
import { watchUsage } from "./supervisor/usage-watch.ts";
import { COMPATIBLE_VERSION, VERSION } from "./package/version.ts";

export interface ServerOptions extends ServiceOptions {
  /** Where to listen; on loopback, on a port that the system chooses, unless said. */
  readonly address?: Address;
}

/** What does not depend on where the server listens. */
export interface ServiceOptions {
  /** What clients must hold; made up unless given. `null` lets everybody in who can reach us. */
  readonly token?: string | null;
  /** Further names by which the server may be called, without port. */
  readonly hosts?: readonly string[];
  /** Pages of other origins that may ask. */
  readonly origins?: readonly string[];
  /** What whoever holds the token may ask, by the request with which they came. Default: everything. Not asked of those who open a session's own Unix socket. */
  readonly scopesOf?: GateOptions["scopesOf"];
  /** Told of what happens, for metrics and traces. Default: nobody listens. */
  readonly telemetry?: Telemetry;
  readonly log?: Log;
  /** Where kernelspecs are looked for before all other places. */
  readonly kernelspecDirs?: readonly string[];
  /** Brings the kernels, instead of starting them as processes here. */
  readonly provisioner?: Provisioner;
  /** Where kernelspecs come from, instead of Jupyter's paths. */
  readonly kernelspecs?: KernelspecSource;
  /** Kernels that are offered beside the kernelspecs; the embedded Python unless said. */
  readonly embedded?: readonly Kernelspec[];
  /** The environment that kernels inherit. The server also looks up programs, kernelspecs, the shell and the home directory in it. Default: `process.env`. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Hours without anybody who needs the server until it ends; 0 is half a minute; never unless given. */
  readonly idleShutdownHours?: number | undefined;
  /** Milliseconds; 0 is off; 1000 unless given. */
  readonly resourceSampleIntervalMs?: number | undefined;
  readonly logLevel?: LogLevel;
  /** Told when a client sets the level. */
  readonly onLogLevel?: (level: LogLevel) => void;
  readonly limits?: Partial<Limits>;
  /** Of sessions that say nothing else: when kernels are shut down that nobody uses, and whether those that die are started again. Default: neither is done. */
  readonly policy?: PolicyChange;
  /** Told of a bug of ours that was caught: what it hit has ended or was dropped, and the server goes on. The log says more. */
  readonly onFault?: FaultListener | undefined;
  /** The driver of the kernels' sockets. */
  readonly transport?: TransportName;
  /** TCP ports for kernels (`tcp`, the default) or Unix sockets (`ipc`); `auto`: Unix sockets for the kernels that can use them. */
  readonly kernelSockets?: KernelSockets | undefined;
  /** The Kallichore version that we say we are. */
  readonly reportedVersion?: string | undefined;
  /** Where private files (connection files, sockets) are kept: a directory of our own is made in it. */
  readonly runtimeDirectory?: string | undefined;
}

const MIB = 1024 * 1024;
const LIMITS: Limits = {
  journal_memory_bytes: 64 * MIB,
  server_memory_bytes: 256 * MIB,
  journal_disk_bytes: 1024 * MIB,
  server_disk_bytes: 4096 * MIB,
  reader_buffer_bytes: MIB,
  reader_timeout_ms: 60_000,
};

/** Dispose of it to end it: the doors close, then the kernels end. */
export interface RunningServer {
  readonly address: Address;
  /** `http://host:port`; `undefined` on a Unix socket or a pipe. */
  readonly url: string | undefined;
  /** `undefined` when everybody may come in. */
  readonly token: string | undefined;
  readonly supervisor: Supervisor;
  /** Resolves with the reason once somebody asked the server to end, or nobody needs it any more. */
  readonly shutdownRequested: Promise<string>;
  /** At once: for the way out of a process that can no longer wait. The kernels are not ended by it. */
  removeFiles(): void;
  [Symbol.asyncDispose](): Promise<void>;
}

/** Resolves once it can answer. */
export function startServer(
  options: ServerOptions = {},
): Promise<RunningServer> {
  return withFiles(options, async (files) => {
    const { service, shutdownRequested } = serviceOf(options, files);
    const { supervisor, log } = service;
    const token = tokenOf(options);
    const listener = await listen(service, {
      address: options.address ?? LOOPBACK,
      token,
      hosts: options.hosts ?? [],
      origins: options.origins ?? [],
      scopesOf: options.scopesOf,
      socketDirectory: () => files.ensure(),
    });
    const { address } = listener;
    const own = address.transport === "socket" ? [dirname(address.path)] : [];
    const stopCleanup = startCleanup([...files.parents, ...own], log);
    let closed: Promise<void> | undefined;
    let isClosed = false;
    const close = async () => {
      await endService(service);
      await listener[Symbol.asyncDispose]();
      await stopCleanup();
      files[Symbol.dispose]();
      isClosed = true;
    };
    return {
      address,
      url: urlOf(address),
      token,
      supervisor,
      shutdownRequested,
      removeFiles() {
        if (isClosed) return; // a path may be another server's by now
        files[Symbol.dispose]();
        if (address.transport === "socket") {
          rmSync(address.path, { force: true });
        }
      },
      [Symbol.asyncDispose]: () => (closed ??= close()),
    };
  });
}

const LOOPBACK = { transport: "tcp", host: "127.0.0.1", port: 0 } as const;

function urlOf(address: Address): string | undefined {
  if (address.transport !== "tcp") return undefined;
  const { host, port } = address;
  return `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** What opens takes the private files along; where it does not open, they go. */
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

/** What stands behind the doors, whoever opens them. */
export function serviceOf(
  options: ServiceOptions,
  files: RuntimeFiles,
): { readonly service: Service; readonly shutdownRequested: Promise<string> } {
  const log = options.log ?? silentLog();
  const faults = new Faults(log);
  const env = options.env ?? process.env;
  const limits = { ...LIMITS, ...options.limits };
  const policy = changed(NO_POLICY, options.policy);
  const host = localHost({ files, log, env });
  const provisioner =
    options.provisioner ??
    hostProvisioner({
      host,
      transport: transportOf(options.transport),
      log,
      faults,
      sockets: options.kernelSockets ?? "tcp",
    });
  const kernelspecs =
    options.kernelspecs ??
    kernelspecFinder({
      extraDirs: options.kernelspecDirs ?? [],
      env,
      embedded: () => options.embedded ?? embeddedKernelspecs(),
    });
  const telemetry = contained(options.telemetry ?? {}, (error) =>
    faults.caught("A listener to telemetry failed", error),
  );
  const supervisor = new Supervisor({
    provisioner,
    log,
    faults,
    telemetry,
    journal: {
      memory: limits.journal_memory_bytes,
      disk: limits.journal_disk_bytes,
      budget: new MemoryBudget(limits.server_memory_bytes),
      diskBudget: new DiskBudget(limits.server_disk_bytes),
      turn: nextReader,
      directory: () => files.ensure(),
    },
  });
  let shutDown: (reason: string) => void = () => {};
  const shutdownRequested = new Promise<string>(
    (resolve) => (shutDown = resolve),
  );
  const guard = guardOf(log, options.onFault);
  let logLevel = options.logLevel ?? "info";
  const service: Service = {
    supervisor,
    log,
    faults,
    guard,
    telemetry,
    limits,
    kernelspecs,
    host,
    policy,
    newId: (bytes) => randomBytes(bytes).toString("hex"),
    idle: watchIdle({
      supervisor,
      log,
      guard,
      hours: options.idleShutdownHours,
      expired: () => shutDown("nobody needs the server any more"),
    }),
    usage: watchUsage(
      supervisor,
      log,
      options.resourceSampleIntervalMs ?? 1000,
    ),
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

/** Before the doors close: clients can still hear how their kernels end. */
export async function endService(service: Service): Promise<void> {
  service.idle[Symbol.dispose]();
  service.usage[Symbol.dispose]();
  await service.supervisor[Symbol.asyncDispose]();
  // Readers have left the journals; that their subscriptions are complete is sent in this turn.
  await new Promise((resolve) => setImmediate(resolve));
}

/** `undefined` where everybody may come in. */
export function tokenOf({ token }: ServiceOptions): string | undefined {
  return token === null
    ? undefined
    : (token ?? randomBytes(32).toString("hex"));
}
