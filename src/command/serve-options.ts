/** The options of `kallichore serve` and their environment variables. All are checked before anything is opened. */
import { type Command, InvalidArgumentError, Option } from "commander";
import { Autorestart, LogLevel } from "../../contract/index.ts";
import { settingsOf, whyNoControlGroup } from "../host/control-group.ts";
import { KERNEL_SOCKETS, type KernelSockets } from "../kernel/ipc.ts";
import type { Prespawn } from "../kernel/warm.ts";
import { TRANSPORT_NAMES, type TransportName } from "../zmq/transport-of.ts";
import { basePathOf } from "../server/base-path.ts";
import type { KeepOptions, ServerOptions } from "../serve.ts";
import { bytes } from "./bytes.ts";
import { limited, limitParsers } from "./limits.ts";
import { CommandError } from "./exit.ts";
import { addGatewayOptions, GATEWAY_TOKEN } from "./gateway-options.ts";
import { prespawn, runtimeDirectoryIn } from "./prespawn.ts";
import { readToken } from "./token.ts";

export interface ServeOptions {
  readonly host: string;
  readonly port: number;
  readonly portRetries: number;
  readonly socket?: string;
  readonly baseUrl: string;
  /** A file, or `none`. */
  readonly token?: string;
  readonly allowOrigin: readonly string[];
  readonly allowHost: readonly string[];
  readonly cookies?: boolean;
  readonly kernelspecDir: readonly string[];
  readonly defaultKernel?: string;
  readonly maxKernels?: number;
  readonly sessionMemory?: number;
  readonly sessionCpus?: number;
  readonly sessionRunTime?: number;
  readonly idleShutdownHours?: number;
  readonly resourceSampleInterval: number;
  readonly journalLimit: number;
  readonly diskLimit: number;
  readonly cullIdleTimeout: number;
  readonly cullConnected?: boolean;
  readonly cullBusy?: boolean;
  readonly autorestart?: Autorestart;
  readonly logLevel: LogLevel;
  readonly logFile?: string;
  readonly prespawn: readonly Prespawn[];
  /** A directory, or `none`. */
  readonly jupyterRuntimeDir?: string;
  readonly kernelSockets: KernelSockets;
  readonly transportDriver: TransportName;
  readonly keep?: boolean;
  readonly stateDir?: string;
  readonly stateName?: string;
  readonly keepEnv?: boolean;
  readonly keepEnded?: number;
  readonly keepEndedDays?: number;
  readonly keepEndedBytes?: number;
  readonly keepIdleDays?: number;
  readonly keepBusyDays?: number;
  readonly replace?: boolean;
  readonly pidFile?: string;
  readonly json?: boolean;
}

export function addServeOptions(command: Command): Command {
  return addGatewayOptions(command.optionsGroup("Address and access:"))
    .addOption(
      env(
        "--host <address>",
        "Address to listen on; other machines can reach any address except loopback",
      ).default("127.0.0.1"),
    )
    .addOption(
      env("--port <number>", "TCP port; 0: a free one")
        .argParser(integer(0, 65_535))
        .default(0),
    )
    .addOption(
      env(
        "--port-retries <count>",
        "How many of the next ports to try if the port is taken",
      )
        .argParser(integer(0, 1000))
        .default(0),
    )
    .addOption(
      env(
        "--socket <path>",
        "Unix socket to listen on, instead of TCP (on Windows: a named pipe)",
      ),
    )
    .addOption(
      env(
        "--base-url <path>",
        "Path under which everything is served, such as /user/ann/",
      )
        .argParser(basePath)
        .default("/"),
    )
    .addOption(
      new Option(
        "--token <file>",
        "File with the token; 'none': no token (default: a random token; or set KALLICHORE_TOKEN to the token itself)",
      ).env("KALLICHORE_TOKEN_FILE"),
    )
    .addOption(
      list(
        "--allow-origin <origin>",
        "Origin whose web pages may use the server, such as http://localhost:5173",
      ),
    )
    .addOption(
      list(
        "--allow-host <name>",
        "Additional host name that clients may use for the server",
      ),
    )
    .addOption(
      env(
        "--cookies",
        "Give cookies to pages that show the token in their address",
      ),
    )
    .optionsGroup("Kernels:")
    .addOption(
      list(
        "--kernelspec-dir <dir>",
        "Directory with kernelspecs, searched before Jupyter's directories",
      ),
    )
    .addOption(
      env(
        "--default-kernel <name>",
        "Kernelspec for clients that name none (default: a Python)",
      ),
    )
    .addOption(
      env(
        "--prespawn <kernelspec=count>",
        "Warm kernels: started before a session asks for one, such as python3=2; in another directory: python3=2:/home/ann; repeatable",
      )
        .argParser(prespawn)
        .default([], "none"),
    )
    .addOption(
      env(
        "--max-kernels <count>",
        "How many kernels may run at one time, with those of --prespawn (default: any number)",
      ).argParser(integer(1, 1_000_000)),
    )
    .addOption(
      env(
        "--session-memory <bytes>",
        "Memory that each kernel may use with all processes that it starts, such as 2G; a kernel that uses more is killed (default: any)",
      ).argParser(limitParsers.memory),
    )
    .addOption(
      env(
        "--session-cpus <count>",
        "Cores that each kernel may use with all processes that it starts, such as 1.5; needs a delegated control group of Linux (default: any)",
      ).argParser(limitParsers.cpus),
    )
    .addOption(
      env(
        "--session-run-time <time>",
        "Time after which each kernel is shut down, such as 8h, 90m or 3600s (default: never)",
      ).argParser(limitParsers.runTime),
    )
    .addOption(
      env(
        "--jupyter-runtime-dir <dir>",
        "Directory for the connection files of kernels, so that 'jupyter console --existing' finds them; 'none': no files (default: Jupyter's runtime directory)",
      ),
    )
    .addOption(
      env(
        "--kernel-sockets <kind>",
        "Connections to kernels. ipc: Unix sockets, which only you can reach; tcp: ports; auto: Unix sockets for kernels that support them",
      )
        .choices(KERNEL_SOCKETS)
        .default("tcp"),
    )
    .addOption(
      env(
        "--transport-driver <name>",
        "ZeroMQ implementation. zmtp: built in; libzmq: the package zeromq; auto: built in, libzmq where it is needed",
      )
        .choices(TRANSPORT_NAMES)
        .default("auto"),
    )
    .optionsGroup("Unused and dead kernels:")
    .addOption(
      env(
        "--cull-idle-timeout <seconds>",
        "Seconds without use after which a kernel is shut down; 0: never; a session's own policy overrides this option and the next three",
      )
        .argParser(integer(0, 31_536_000))
        .default(0),
    )
    .addOption(
      env(
        "--cull-connected",
        "Shut down unused kernels also while clients are connected",
      ),
    )
    .addOption(
      env("--cull-busy", "Shut down unused kernels also while they run code"),
    )
    .addOption(
      env(
        "--autorestart <count/seconds>",
        "Restart kernels that die, at most COUNT times in SECONDS, such as 5/60 (default: never)",
      ).argParser(autorestart),
    )
    .optionsGroup("Journals:")
    .addOption(
      env(
        "--journal-limit <bytes>",
        "Memory for the journal of each session, such as 64M",
      )
        .argParser(bytes(1))
        .default(64 * 1024 * 1024, "64M"),
    )
    .addOption(
      env(
        "--disk-limit <bytes>",
        "Disk space for the journals of all sessions together, such as 4G; 0: none",
      )
        .argParser(bytes(0))
        .default(4 * 1024 ** 3, "4G"),
    )
    .optionsGroup("Sessions that outlive the server:")
    .addOption(
      env(
        "--keep",
        "Keep sessions and their kernels when the server ends or is killed; the next 'serve --keep' continues with them",
      ),
    )
    .addOption(
      env(
        "--state-dir <dir>",
        "With --keep: directory for the states of servers (default: $XDG_STATE_HOME/kallichore)",
      ),
    )
    .addOption(
      env(
        "--state-name <name>",
        "With --keep: name of this server's state; two servers at a time need two names (default: default)",
      ),
    )
    .addOption(
      env(
        "--keep-env",
        "With --keep: write down the values of the sessions' environment variables too, in private files, so that kernels can be restarted later",
      ),
    )
    .addOption(
      env(
        "--keep-ended <count>",
        "With --keep: how many sessions whose kernels have ended are kept; beyond that, the one that was not used for the longest time is deleted; 0: any number (default: 100)",
      ).argParser(integer(0, 1_000_000)),
    )
    .addOption(
      env(
        "--keep-ended-days <days>",
        "With --keep: days without use after which such a session is deleted; 0: never (default: 30)",
      ).argParser(integer(0, 36_500)),
    )
    .addOption(
      env(
        "--keep-ended-bytes <bytes>",
        "With --keep: disk space for all such sessions, such as 2G; 0: any (default: half of --disk-limit)",
      ).argParser(bytes(0)),
    )
    .addOption(
      env(
        "--keep-idle-days <days>",
        "With --keep: days without a server after which kernels that run no code are shut down; 0: never (default: 7)",
      ).argParser(integer(0, 36_500)),
    )
    .addOption(
      env(
        "--keep-busy-days <days>",
        "With --keep: the same for kernels that run code all this time; 0: never (default: never)",
      ).argParser(integer(0, 36_500)),
    )
    .addOption(
      new Option(
        "--replace",
        "With --keep: take over from the running server that has the same state; it ends when this one serves",
      ),
    )
    .optionsGroup("Server process:")
    .addOption(
      env(
        "--idle-shutdown-hours <hours>",
        "Hours without use after which the server ends; 0: 30 seconds (default: never)",
      ).argParser(integer(0, 65_535)),
    )
    .addOption(
      env(
        "--resource-sample-interval <ms>",
        "Milliseconds between samples of the kernels' CPU and memory; 0: no samples",
      )
        .argParser(integer(0, 86_400_000))
        .default(1000),
    )
    .addOption(
      env(
        "--pid-file <path>",
        "File with the process id of the server, for a service manager",
      ),
    )
    .addOption(
      env("--log-level <level>", "Least severe level to log")
        .choices(LogLevel.options)
        .default("info"),
    )
    .addOption(
      env(
        "--log-file <path>",
        "File for the log, in addition to standard error; emptied at the start",
      ),
    );
}

/** Throws `usage` if an option says how sessions are kept, and none are. The variables of these options may be set for all servers. */
export function assertKeepOptions(command: Command): void {
  if (command.getOptionValue("keep") === true) return;
  const given = command.options.find(
    (option) =>
      /^--(state-|keep-|replace)/.test(option.long ?? "") &&
      command.getOptionValueSource(option.attributeName()) === "cli",
  );
  if (given === undefined) return;
  throw new CommandError(
    "usage",
    `${given.long ?? ""} says how sessions are kept: add --keep`,
  );
}

/** The options of `startServer`. Throws `usage` if options contradict each other. */
export function toServerOptions(options: ServeOptions): ServerOptions {
  const { host, port, socket } = options;
  const token = tokenOf(options);
  if (socket === undefined && !isLoopback(host) && token === null) {
    throw new CommandError(
      "usage",
      `Without a token, everybody who can reach ${host} could run programs here`,
      { hint: "Omit --token, or listen on 127.0.0.1." },
    );
  }
  const { maxKernels = Infinity, prespawn: entries } = options;
  const warm = entries.reduce((sum, { count }) => sum + count, 0);
  if (warm > maxKernels) {
    throw new CommandError(
      "usage",
      `--prespawn asks for ${warm} warm kernels, and --max-kernels allows ${maxKernels}`,
      {
        hint: "Warm kernels count in --max-kernels: lower --prespawn, or raise --max-kernels.",
      },
    );
  }
  assertCpuLimit(options);
  const { keep = false } = options;
  const keepOptions = keepOptionsOf(options);
  if (keep && options.diskLimit === 0) {
    throw new CommandError(
      "usage",
      "--keep needs disk space: omit --disk-limit 0",
    );
  }
  return {
    ...(keep && { keep: keepOptions ?? {} }),
    address:
      socket === undefined
        ? { transport: "tcp", host, port }
        : process.platform === "win32"
          ? { transport: "named-pipe", name: socket }
          : { transport: "socket", path: socket },
    basePath: options.baseUrl,
    ...(token !== undefined && { token }),
    hosts: options.allowHost,
    origins: options.allowOrigin,
    cookies: options.cookies,
    kernelspecDirs: options.kernelspecDir,
    defaultKernel: options.defaultKernel,
    maxKernels: options.maxKernels,
    sessionLimits: limited({
      memory: options.sessionMemory,
      cpus: options.sessionCpus,
      runTime: options.sessionRunTime,
    }).limits,
    idleShutdownHours: options.idleShutdownHours,
    resourceSampleIntervalMs: options.resourceSampleInterval,
    policy: {
      cull_idle_timeout: options.cullIdleTimeout,
      cull_connected: options.cullConnected ?? false,
      cull_busy: options.cullBusy ?? false,
      autorestart: options.autorestart ?? null,
    },
    logLevel: options.logLevel,
    limits: {
      journal_memory_bytes: options.journalLimit,
      server_disk_bytes: options.diskLimit,
    },
    transport: options.transportDriver,
    kernelSockets: options.kernelSockets,
    prespawn: options.prespawn,
    jupyterRuntimeDirectory: runtimeDirectoryIn(options.jupyterRuntimeDir),
  };
}

/** `undefined` if none of them is given. */
function keepOptionsOf(options: ServeOptions): KeepOptions | undefined {
  const ended = {
    sessions: options.keepEnded,
    days: options.keepEndedDays,
    bytes: options.keepEndedBytes,
  };
  const keep = {
    stateDirectory: options.stateDir,
    stateName: options.stateName,
    keepEnv: options.keepEnv,
    idleDays: options.keepIdleDays,
    busyDays: options.keepBusyDays,
  };
  const isGiven = [...Object.values(ended), ...Object.values(keep)].some(
    (value) => value !== undefined,
  );
  return isGiven ? { ...keep, ended } : undefined;
}

/** Throws `usage`. */
function assertCpuLimit({ sessionCpus: cpus }: ServeOptions): void {
  if (cpus === undefined) return;
  const why = whyNoControlGroup(settingsOf({ cpus }));
  if (why === undefined) return;
  throw new CommandError(
    "usage",
    `--session-cpus: the CPU of kernels cannot be limited on this machine: ${why}`,
    {
      hint: "Omit it, or run the server as a systemd service with Delegate=yes and DelegateSubgroup=server.",
    },
  );
}

/** `null`: no token; `undefined`: the server chooses a random one. */
function tokenOf({ token }: ServeOptions): string | null | undefined {
  if (token === "none") return null;
  if (token !== undefined) return readToken(token);
  const gateway = process.env[GATEWAY_TOKEN];
  return (
    process.env["KALLICHORE_TOKEN"] ?? (gateway === "" ? undefined : gateway)
  );
}

export function isLoopback(host: string): boolean {
  return (
    host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host) // not `127.0.0.1.example.com`
  );
}

function env(flags: string, description: string): Option {
  const name = /--([a-z-]+)/.exec(flags)?.[1] ?? "";
  const variable = name.toUpperCase().replaceAll("-", "_");
  return new Option(flags, description).env(`KALLICHORE_${variable}`);
}

/** An option that may be repeated. Its environment variable separates values with commas. */
function list(flags: string, description: string): Option {
  return env(flags, `${description}; repeatable`)
    .argParser((value: string, before: readonly string[]) => [
      ...before,
      ...value.split(",").filter((one) => one !== ""),
    ])
    .default([], "none");
}

function basePath(text: string): string {
  try {
    return basePathOf(text).path;
  } catch {
    throw new InvalidArgumentError("Use a path, such as /user/ann/.");
  }
}

function autorestart(text: string): Autorestart {
  const [, limit, window_s] = /^(\d+)\/(\d+)$/.exec(text) ?? [];
  const parsed = Autorestart.safeParse({
    limit: Number(limit),
    window_s: Number(window_s),
  });
  if (parsed.success) return parsed.data;
  throw new InvalidArgumentError(
    "Use COUNT/SECONDS, such as 5/60; at most 1000 times, and at most 86400 seconds.",
  );
}

function integer(least: number, most: number) {
  return (text: string): number => {
    const value = /^\d+$/.test(text) ? Number(text) : NaN;
    if (value >= least && value <= most) return value;
    throw new InvalidArgumentError(
      `Use a whole number from ${least} to ${most}.`,
    );
  };
}
