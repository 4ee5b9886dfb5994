/**
 * Runs the server of `kcserver`: starts it, reports its address, waits until the
 * end is requested, and removes the server's files.
 */
import { LogBook } from "../../log/log.ts";
import { type Filter, filterAt, parseFilter } from "../../log/filter.ts";
import { within } from "../../time/within.ts";
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
import { runtimeDirectoryIn } from "../prespawn.ts";
import { leaveInput } from "../terminal-streams.ts";
import type { LauncherFacts } from "./launcher.ts";
import { type Leftovers, removeOnExit } from "./leftovers.ts";
import type { Options } from "./options.ts";
import type { ParentLink } from "./parent-link.ts";
import { type Token, tokenFrom } from "./token.ts";
import {
  isTooLong,
  type ListenChoice,
  listenChoiceOf,
  PATH_LIMIT,
} from "./transport.ts";

/** The exit code if the log file cannot be written; the same as Kallichore's. */
const NO_LOG_FILE = 101;

/**
 * Resolves with the exit code when the server and its files are gone. Throws
 * `usage`. `parent`: the process that starts the server again when it is killed.
 */
export async function runServer(
  options: Options,
  launched: LauncherFacts,
  parent?: ParentLink,
): Promise<number> {
  const restart = parent?.orders.restart;
  const chosen = listenChoiceOf(options, parent && { pid: parent.pid });
  const choice =
    restart === undefined ? chosen : { ...chosen, address: restart.address };
  const { filter, faults } = filterOf(options.logLevel, process.env);
  const book = openBook(options.logFile, filter, restart !== undefined);
  if (book === undefined) return NO_LOG_FILE;
  for (const fault of faults) {
    book.log.warn(`${fault} is not a valid log level and is ignored`);
  }
  return await serve({ options, choice, launched, book, parent });
}

interface Setting {
  readonly options: Options;
  readonly choice: ListenChoice;
  readonly launched: LauncherFacts;
  readonly book: LogBook;
  readonly parent: ParentLink | undefined;
}

async function serve(setting: Setting): Promise<number> {
  const { choice, launched, book, parent } = setting;
  leaveInput();
  await using closedLast = book;
  const log = closedLast.log.child({ target: "kcserver" });
  using endings = listenForEndRequests(log, launched);
  using leftovers = removeOnExit();
  log.info(`kallichore ${VERSION} starts as process ${process.pid}`);
  for (const warning of choice.warnings) log.warn(warning);
  const restart = parent?.orders.restart;
  if (restart !== undefined) {
    log.error(
      `The server before has ended (${restart.ended}); this one goes on with its sessions`,
    );
  }
  let server: RunningServer | undefined;
  try {
    const token = await tokenFrom(
      isToldAgain(setting) ? undefined : setting.options.token,
    );
    server = await open(setting, token);
    const opened = server;
    leftovers.own({ [Symbol.dispose]: () => opened.removeFiles() });
    void opened.shutdownRequested.then((reason) =>
      endings.request({ reason, code: 0 }),
    );
    await discard(token, book);
    await announce(setting, opened, leftovers);
    parent?.listening(opened.address, opened.handle);
    parent?.gone.addEventListener("abort", () =>
      endings.request({ reason: "the parent process is gone", code: 1 }),
    );
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    log.error(`The server cannot be started: ${why}`);
    if (server !== undefined) await end(server, endings, book);
    return 1;
  }
  const ending = await endings.first;
  log.info(`The server ends: ${ending.reason}`);
  // Behind a parent, kernels end only when somebody has asked for it. Otherwise the next server goes on with them.
  const isLetGo = parent !== undefined && ending.code !== 0;
  if (isLetGo) {
    await within(server.letGo(), SHUTDOWN_TIMEOUT_MS);
    return ending.code;
  }
  const hasEnded = await end(server, endings, book);
  log.info("The server has ended");
  const code = hasEnded ? ending.code : 1;
  await parent?.ended(code);
  return code;
}

/** Whether the token was given to an earlier server, which has kept it and deleted its file. */
function isToldAgain({ options, parent }: Setting): boolean {
  return parent?.orders.restart !== undefined && options.token !== "none";
}

async function open(
  { options, choice, book, parent }: Setting,
  token: Token,
): Promise<RunningServer> {
  const { address } = choice;
  if (address.transport === "socket" && isTooLong(address.path)) {
    throw new Error(
      `the path of the socket is too long; the limit is ${PATH_LIMIT} bytes: ${address.path}`,
    );
  }
  if (token.value === null) {
    book.log.warn(
      "The server needs no token: everybody who can reach it can run code as its user",
    );
  }
  const server = await startServer({
    address,
    ...(token.value !== undefined && { token: token.value }),
    ...(parent !== undefined && {
      processId: parent.pid,
      heldSocket: { handle: parent.handle },
      keep: {
        stateDirectory: options.stateDir,
        stateName: parent.orders.state_name,
        keepEnv: options.keepEnv,
      },
    }),
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
    prespawn: options.prespawn,
    jupyterRuntimeDirectory: runtimeDirectoryIn(options.jupyterRuntimeDir),
    ...(options.diskLimit !== undefined && {
      limits: { server_disk_bytes: options.diskLimit },
    }),
  });
  if (server.token !== undefined) book.conceal(server.token);
  return server;
}

/**
 * Reports the address of the running server on the terminal, in the connection
 * file and on the handshake socket. Rejects if one of them cannot be written. A
 * server that goes on for another one has the same, and only owns the file.
 */
async function announce(
  { options, launched, book, parent }: Setting,
  server: RunningServer,
  leftovers: Leftovers,
): Promise<void> {
  const { address, token } = server;
  const line = listeningLine(address);
  book.log.info({ target: "kcserver" }, line);
  const { connectionFile, handshakeSocket, logFile } = options;
  const isFirst = parent?.orders.restart === undefined;
  if (isFirst) book.print(line);
  const isReported =
    connectionFile !== undefined || handshakeSocket !== undefined;
  // The token is printed and not logged: people keep logs, and send them to others.
  if (isFirst && !isReported && options.token === undefined) {
    book.print(`Token: ${token ?? ""}`);
  }
  const connection = serverInfoOf({
    address,
    token: token ?? null,
    server_id: server.supervisor.server_id,
    server_path: launched.server_path,
    server_pid: parent?.pid ?? process.pid,
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
  if (isFirst && handshakeSocket !== undefined) {
    await sendHandshake(handshakeSocket, connection).catch((cause: unknown) =>
      explain(`the handshake on ${handshakeSocket} failed`, cause),
    );
  }
}

function explain(what: string, cause: unknown): never {
  const why = cause instanceof Error ? cause.message : String(cause);
  throw new Error(`${what}: ${why}`, { cause });
}

function listeningLine(address: RunningServer["address"]): string {
  switch (address.transport) {
    case "tcp":
      return `Listening at ${address.host}:${address.port}`;
    case "socket":
      return `Listening on Unix socket: ${address.path}`;
    case "named-pipe":
      return `Listening on named pipe: ${address.name}`;
  }
}

/** How long kernels have to end in order; well below the half minute that Kallichore's clients wait. */
const SHUTDOWN_TIMEOUT_MS = 20_000;
/** How long killed kernels may take to end. */
const KILL_TIMEOUT_MS = 5_000;

/** Ends the server; kills the kernels at an urgent request or after a timeout. Resolves with whether everything has ended. */
async function end(
  server: RunningServer,
  { urgent }: EndRequests,
  { log }: LogBook,
): Promise<boolean> {
  const closed = server[Symbol.asyncDispose]().then(
    () => "closed" as const,
    (error: unknown) => {
      log.error(
        { err: error, target: "kcserver" },
        "The server did not end cleanly",
      );
      return "failed" as const;
    },
  );
  const outcome = await within(
    Promise.race([closed, urgent]),
    SHUTDOWN_TIMEOUT_MS,
  );
  if (outcome === "closed" || outcome === "failed") {
    return outcome === "closed";
  }
  const why: EndRequest = outcome ?? {
    reason: `they did not end within ${SHUTDOWN_TIMEOUT_MS / 1000} s`,
    code: 1,
  };
  log.warn({ target: "kcserver" }, `Kernels are killed: ${why.reason}`);
  for (const session of server.supervisor.sessions) {
    session.kill().catch(() => {}); // its kernel has already ended
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

/** The filter of the option, or else of the environment, or else `info`. */
function filterOf(
  level: string | undefined,
  env: NodeJS.ProcessEnv,
): { filter: Filter; faults: readonly string[] } {
  const { filter, faults } = parseFilter(level ?? env["RUST_LOG"] ?? "");
  return { filter: filter ?? filterAt("info"), faults };
}

function openBook(
  file: string | undefined,
  filter: Filter,
  isContinued: boolean,
): LogBook | undefined {
  try {
    const book = new LogBook({ file, filter, isContinued });
    process.once("exit", () => book[Symbol.dispose]());
    return book;
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    process.stderr.write(`Error: The log file cannot be written: ${why}\n`);
    return undefined;
  }
}
