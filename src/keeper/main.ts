/**
 * The program of a keeper. Its options come as one line of JSON on standard
 * input, because others can read arguments and environments. It says that it
 * listens by writing `keeper.json`.
 */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { localHost } from "../host/local.ts";
import { currentOwner } from "../host/owner.ts";
import { writePrivate } from "../host/private-file.ts";
import { bindPipe, bindPrivately } from "../host/private-socket.ts";
import { RuntimeFiles } from "../host/runtime-files.ts";
import type { KernelSockets } from "../kernel/ipc.ts";
import { hostProvisioner } from "../kernel/provisioner.ts";
import { limitingRunTime } from "../kernel/run-time.ts";
import { Faults } from "../log/faults.ts";
import type { Log } from "../log/log.ts";
import { VERSION } from "../package/version.ts";
import { type TransportName, transportOf } from "../zmq/transport-of.ts";
import { EventStore } from "./event-log.ts";
import { PROTOCOL } from "./frames.ts";
import type { KeepTimes } from "./hello.ts";
import { Keeper } from "./keeper.ts";
import { type KeeperFile, keeperFileIn } from "./keeper-file.ts";
import { keeperLog } from "./keeper-log.ts";

/** The line on standard input. */
export interface KeeperProgramOptions extends KeeperSettings {
  readonly secret: string;
  readonly epoch: number;
  readonly state_directory: string;
}

export interface KeeperSettings {
  /** The directory in which the keeper makes its own directory for private files. Default: the system's for temporary files. */
  readonly runtime_directory?: string | undefined;
  readonly transport?: TransportName | undefined;
  readonly kernel_sockets?: KernelSockets | undefined;
  /** How long kernels may run while no server is attached. Default: 7 days without code; for any time while code runs. */
  readonly times?: KeepTimes | undefined;
  /** Bytes of events in memory. Default: 64 MiB. */
  readonly memory_bytes?: number | undefined;
  /** Bytes of events in files. Default: 1 GiB. */
  readonly disk_bytes?: number | undefined;
  readonly log_level?:
    "trace" | "debug" | "info" | "warn" | "error" | undefined;
}

const MIB = 1024 * 1024;
const TIMES: KeepTimes = {
  idle_timeout_ms: 7 * 24 * 3600 * 1000,
  busy_timeout_ms: null,
};
/** Bytes of the line on standard input. */
const LINE_LIMIT = MIB;

/** Resolves with the exit code when the keeper has ended. */
export async function runKeeper(): Promise<number> {
  if (process.stdin.isTTY) {
    process.stderr.write(
      "A keeper is started by a server that keeps kernels: kallichore serve --keep\n",
    );
    return 2;
  }
  const options = JSON.parse(
    await firstLine(process.stdin),
  ) as KeeperProgramOptions;
  process.stdin.destroy();
  const book = keeperLog(
    join(options.state_directory, "keeper.log"),
    options.log_level,
  );
  const { log } = book;
  // A bug must not end the kernels.
  const caught = (err: unknown) =>
    log.error({ err }, "A bug in Kallichore; please report it");
  process.on("uncaughtException", caught);
  process.on("unhandledRejection", caught);
  process.on("SIGHUP", () => {});
  try {
    await hold(options, log);
    return 0;
  } catch (err) {
    log.fatal({ err }, "The keeper could not be started");
    return 1;
  } finally {
    await book.flushed();
  }
}

/** Holds kernels until the keeper ends. */
async function hold(options: KeeperProgramOptions, log: Log): Promise<void> {
  const faults = new Faults(log);
  using files = new RuntimeFiles(options.runtime_directory);
  const transport = transportOf(options.transport);
  const sockets = options.kernel_sockets ?? "tcp";
  const store = new EventStore({
    memory: options.memory_bytes ?? 64 * MIB,
    disk: options.disk_bytes ?? 1024 * MIB,
    directory: () => files.ensure(),
    faults,
  });
  const { idle_timeout_ms, busy_timeout_ms } = options.times ?? TIMES;
  const keeper = new Keeper({
    secret: options.secret,
    store,
    log,
    faults,
    idleTimeout_ms: idle_timeout_ms ?? Infinity,
    busyTimeout_ms: busy_timeout_ms ?? Infinity,
    provisionerOf: (env) => {
      const host = localHost({ files, log, env });
      const options = { host, transport, log, faults, sockets };
      return limitingRunTime(hostProvisioner(options), faults);
    },
  });
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => void keeper.end(`it received ${signal}`));
  }
  const server = createServer((socket) => keeper.accept(socket));
  const socket = await listen(server, files);
  const path = keeperFileIn(options.state_directory);
  const file: KeeperFile = {
    format: 1,
    ...currentOwner(),
    socket,
    protocol: PROTOCOL,
    version: VERSION,
    epoch: options.epoch,
  };
  writePrivate(path, file);
  log.info({ pid: process.pid, version: VERSION }, "The keeper listens");
  const ended = await keeper.ended;
  server.close();
  try {
    writePrivate(path, { ...file, ended });
  } catch (err) {
    log.warn({ err }, "The reason of the end could not be written");
  }
}

async function listen(server: Server, files: RuntimeFiles): Promise<string> {
  server.on("error", () => {}); // a stream that could not be accepted
  if (process.platform === "win32") {
    const name = `\\\\.\\pipe\\kallichore-keeper-${randomBytes(16).toString("hex")}`;
    await bindPipe(server, name);
    return name;
  }
  const directory = files.ensureForSockets();
  if (directory === undefined) throw new Error("No directory for a socket");
  const path = join(directory, "keeper.sock");
  await bindPrivately(server, path);
  return path;
}

async function firstLine(input: Readable): Promise<string> {
  let text = "";
  input.setEncoding("utf8");
  input.on("data", (part: string) => (text += part));
  while (!text.includes("\n") && text.length < LINE_LIMIT) {
    await Promise.race([
      once(input, "data"),
      once(input, "end").then(() => (text += "\n")),
    ]);
  }
  return text.slice(0, text.indexOf("\n"));
}
