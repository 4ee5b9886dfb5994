/**
 * The `kcserver` command: judge the options, open the server, say where it is,
 * serve until somebody ends it, and leave nothing behind.
 */
import { copyFile, mkdir, realpath } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { LogBook } from "../../log/log.ts";
import { type Filter, filterAt, parseFilter } from "../../log/filter.ts";
import { within } from "../../time/within.ts";
import { isExecutable } from "../../package/files.ts";
import { type RunningServer, startServer } from "../../serve.ts";
import { VERSION } from "../../package/version.ts";
import {
  serverInfoOf,
  sendHandshake,
  writeConnectionFile,
} from "./connection.ts";
import {
  type EndRequest,
  type EndRequests,
  listenForEndRequests,
} from "./end-requests.ts";
import { CommandError } from "../exit.ts";
import { leaveInput } from "../terminal-streams.ts";
import { expectedVersion } from "./expected-version.ts";
import { installLauncher, type Launched, launchedBy } from "./launcher.ts";
import { type Leftovers, removeOnExit } from "./leftovers.ts";
import { type Options, parseOptions } from "./options.ts";
import { type Token, tokenFrom } from "./token.ts";
import { isTooLong, type ListenChoice, listenChoiceOf } from "./transport.ts";

/** The log file cannot be written; as Kallichore has it. */
const NO_LOG_FILE = 101;

/** `argv` without the interpreter and the program. Resolves with the exit code, when all that is ours is gone. */
export async function run(argv: readonly string[]): Promise<number> {
  const launched = launchedBy(process.env);
  const { server_path } = launched;
  const parsed = parseOptions(argv, {
    expectedVersion: expectedVersion(server_path),
  });
  if (!("options" in parsed)) {
    await print(process.stdout, parsed.stdout);
    await print(process.stderr, parsed.stderr);
    return parsed.code;
  }
  const { options } = parsed;
  try {
    if (options.installLauncher !== undefined) {
      return await install(options.installLauncher);
    }
    const choice = listenChoiceOf(options);
    const { filter, faults } = filterOf(options.logLevel, process.env);
    const book = openBook(options.logFile, filter);
    if (book === undefined) return NO_LOG_FILE;
    for (const fault of faults) {
      book.log.warn(`${fault} is no log level, and is ignored`);
    }
    return await serve({ options, choice, launched, book });
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    await print(process.stderr, `Error: ${error.message}\n`);
    return 1;
  }
}

interface Setting {
  readonly options: Options;
  readonly choice: ListenChoice;
  readonly launched: Launched;
  readonly book: LogBook;
}

async function serve(setting: Setting): Promise<number> {
  const { choice, launched, book } = setting;
  leaveInput();
  await using lastLines = book;
  const log = lastLines.log.child({ target: "kcserver" });
  using endings = listenForEndRequests(log, launched);
  using leftovers = removeOnExit();
  log.info(`kallichore ${VERSION} begins, process ${process.pid}`);
  for (const warning of choice.warnings) log.warn(warning);
  let server: RunningServer | undefined;
  try {
    const token = await tokenFrom(setting.options.token);
    server = await open(setting, token);
    const opened = server;
    leftovers.own({ [Symbol.dispose]: () => opened.removeFiles() });
    void opened.shutdownRequested.then((reason) =>
      endings.request({ reason, code: 0 }),
    );
    await discard(token, book);
    await announce(setting, opened, token, leftovers);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    log.error(`The server cannot be started: ${why}`);
    if (server !== undefined) await end(server, endings, book);
    return 1;
  }
  const ending = await endings.first;
  log.info(`The server ends: ${ending.reason}`);
  const isOver = await end(server, endings, book);
  log.info("The server has ended");
  return isOver ? ending.code : 1;
}

function open(
  { options, choice, book }: Setting,
  token: Token,
): Promise<RunningServer> {
  const { address } = choice;
  if (address.transport === "socket" && isTooLong(address.path)) {
    throw new Error(
      `the path of the socket is too long, it may have 104 bytes: ${address.path}`,
    );
  }
  if (token.value === null) {
    book.log.warn(
      "No token is asked for: whoever reaches the server may use it",
    );
  } else book.conceal(token.value);
  return startServer({
    address,
    token: token.value,
    log: book.log,
    logLevel: book.filter.level,
    onLogLevel: (level) => (book.filter = filterAt(level)),
    hosts: options.allowHost,
    origins: options.allowOrigin,
    idleShutdownHours: options.idleShutdownHours,
    resourceSampleIntervalMs: options.resourceSampleInterval,
    reportedVersion: options.reportVersion,
    runtimeDirectory: choice.runtimeDirectory,
    kernelSockets: options.kernelSockets,
    ...(options.diskLimit !== undefined && {
      limits: { server_disk_bytes: options.diskLimit },
    }),
  });
}

/** Now that we answer: to the terminal, to the file, to the socket. Rejects when one of those who wait cannot be told. */
async function announce(
  { options, launched, book }: Setting,
  server: RunningServer,
  token: Token,
  leftovers: Leftovers,
): Promise<void> {
  const { address } = server;
  const where = listening(address);
  book.log.info({ target: "kcserver" }, where);
  book.print(where);
  const { connectionFile, handshakeSocket, logFile } = options;
  const isTold = connectionFile !== undefined || handshakeSocket !== undefined;
  // Not a line of the log: logs are kept, and sent to others.
  if (token.isRandom && !isTold) book.print(`Token: ${token.value ?? ""}`);
  const connection = serverInfoOf({
    address,
    token: token.value,
    server_id: server.supervisor.server_id,
    server_path: launched.server_path,
    log_path: logFile ?? null,
  });
  if (connectionFile !== undefined) {
    const file = writeConnectionFile(connectionFile, connection);
    leftovers.own(
      await file.catch((cause: unknown) =>
        explain(`the connection file cannot be written`, cause),
      ),
    );
  }
  if (handshakeSocket !== undefined) {
    await sendHandshake(handshakeSocket, connection).catch((cause: unknown) =>
      explain(`the handshake on ${handshakeSocket} failed`, cause),
    );
  }
}

function explain(what: string, cause: unknown): never {
  const why = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`${what}: ${why}`, { cause });
}

function listening(address: RunningServer["address"]): string {
  switch (address.transport) {
    case "tcp":
      return `Listening at ${address.host}:${address.port}`;
    case "socket":
      return `Listening on Unix socket: ${address.path}`;
    case "named-pipe":
      return `Listening on named pipe: ${address.name}`;
  }
}

/** How long kernels have to end in order; well within the half minute that those who wait for us know. */
const SHUTDOWN_TIMEOUT_MS = 20_000;
/** How long they may take once they are killed. */
const KILL_TIMEOUT_MS = 5_000;

/** Resolves with whether all is over: in order, or by force when somebody is in a hurry or it takes too long. */
async function end(
  server: RunningServer,
  { urgent }: EndRequests,
  { log }: LogBook,
): Promise<boolean> {
  const closed = server[Symbol.asyncDispose]().then(
    () => "closed" as const,
    (error: unknown) => {
      log.error({ err: error, target: "kcserver" }, "The end went wrong");
      return "failed" as const;
    },
  );
  const how = await within(Promise.race([closed, urgent]), SHUTDOWN_TIMEOUT_MS);
  if (how === "closed" || how === "failed") return how === "closed";
  const why: EndRequest = how ?? { reason: "they take too long", code: 1 };
  log.warn({ target: "kcserver" }, `Kernels are killed: ${why.reason}`);
  for (const session of server.supervisor.sessions) {
    session.kill().catch(() => {}); // it is gone already, which is what is wanted
  }
  return (await within(closed, KILL_TIMEOUT_MS)) === "closed";
}

async function discard(token: Token, { log }: LogBook): Promise<void> {
  try {
    await token.discard();
  } catch (error) {
    log.warn(
      { err: error, target: "kcserver" },
      "The token file cannot be deleted",
    );
  }
}

async function install(directory: string): Promise<number> {
  try {
    if (isExecutable) {
      const path = join(resolve(directory), basename(process.execPath));
      await mkdir(resolve(directory), { recursive: true });
      await copyFile(process.execPath, path); // it needs nobody to launch it
      await print(process.stdout, `${path}\n`);
      return 0;
    }
    const program = await realpath(process.argv[1] ?? "");
    const target = { node: process.execPath, program };
    const path = await installLauncher(directory, target);
    await print(process.stdout, `${path}\n`);
    return 0;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    await print(process.stderr, `Error: The launcher cannot be made: ${why}\n`);
    return 1;
  }
}

/** The level that was asked for, or the environment's, or `info`. */
function filterOf(
  said: string | undefined,
  env: NodeJS.ProcessEnv,
): { filter: Filter; faults: readonly string[] } {
  const { filter, faults } = parseFilter(said ?? env["RUST_LOG"] ?? "");
  return { filter: filter ?? filterAt("info"), faults };
}

function openBook(
  file: string | undefined,
  filter: Filter,
): LogBook | undefined {
  try {
    const book = new LogBook({ file, filter });
    process.once("exit", () => book[Symbol.dispose]());
    return book;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`Error: The log file cannot be written: ${why}\n`);
    return undefined;
  }
}

/** Resolves when it was taken, or nobody wants it. */
async function print(stream: NodeJS.WriteStream, text: string): Promise<void> {
  if (text === "") return;
  stream.once("error", () => {}); // the reader left
  await new Promise<void>((resolve) => stream.write(text, () => resolve()));
}
