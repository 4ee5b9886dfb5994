/**
 * `kallichore serve`: runs the server in the foreground, from printing its
 * address until its last kernel has ended.
 */
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { Command } from "commander";
import { type Log, LogBook } from "../log/log.ts";
import { filterAt } from "../log/filter.ts";
import { deadline } from "../time/signals.ts";
import {
  type RunningServer,
  type ServerOptions,
  startServer,
} from "../serve.ts";
import { onUncaughtError } from "./uncaught-errors.ts";
import { type CommandContext, examples, withJson } from "./context.ts";
import { CommandError, exitHelp, type ExitCode } from "./exit.ts";
import { applyGatewayOptions } from "./gateway-options.ts";
import type { Hub } from "./hub.ts";
import { greet, recordOf } from "./greeting.ts";
import {
  privateDirectory,
  type ServerRecord,
  writeServerRecord,
} from "./record.ts";
import { startSuccessor, stateOf, successorOf, takeOver } from "./replace.ts";
import {
  addServeOptions,
  assertKeepOptions,
  isLoopback,
  type ServeOptions,
  toServerOptions,
} from "./serve-options.ts";
import { onSignals } from "./signals.ts";
import type { Terminal } from "./terminal.ts";
import { untilAborted } from "../time/signals.ts";
import { isPublic } from "./token.ts";
import { whyOf } from "./why.ts";

/** Kernels have a few seconds to shut down and are then killed. A shutdown that takes longer than this is stuck. */
const SHUTDOWN_TIMEOUT_MS = 20_000;
/** How long the server waits after it has killed the kernels. */
const KILL_TIMEOUT_MS = 3_000;

export function serveCommand(context: CommandContext): Command {
  const command = new Command("serve")
    .summary("Run a server through which other programs use kernels")
    .description(
      "Run a server until Ctrl-C. Your other kallichore commands find it by themselves; other programs need the address and the token that it prints.",
    );
  addServeOptions(command).optionsGroup("Options:");
  withJson(command, "Print the address and the token as one line of JSON");
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore serve", "a free port on 127.0.0.1, with a token"],
          [
            "kallichore serve --port 8890 --log-file kallichore.log",
            "a fixed port, and a log file",
          ],
          [
            "kallichore serve --socket ~/kallichore.sock",
            "a Unix socket that only you can reach",
          ],
          [
            "kallichore serve --keep",
            "kernels continue when the server ends or is killed",
          ],
          [
            "kallichore serve --keep --replace",
            "after an upgrade: take over from the running server",
          ],
          [
            "kallichore serve --allow-origin http://localhost:5173",
            "allow a web page under development",
          ],
        ),
        "",
        "The first Ctrl-C (or SIGTERM, SIGHUP) shuts the kernels and the server down. The\nsecond one kills the kernels. With --keep, Ctrl-C ends the server alone: its kernels\ncontinue, and 'kallichore stop --all' ends them.",
        "",
        exitHelp(["ok", "refused", "usage", "internal_error"]),
      ].join("\n"),
    )
    .action(async (_: unknown, command: Command) => {
      applyGatewayOptions(command);
      assertKeepOptions(command);
      const hub = await hubOf(command);
      const given: ServeOptions = command.opts();
      const options = hub?.serveOptions(given) ?? given;
      context.finish(await serve(options, context.terminal, hub));
    });
}

/** The JupyterHub that has started this process to listen where it says. A person in a Hub's terminal has its variables too, and says where to listen. */
async function hubOf(command: Command): Promise<Hub | undefined> {
  const { JUPYTERHUB_SERVICE_URL: url, JUPYTERHUB_API_TOKEN: token } =
    process.env;
  const isGiven = ["host", "port", "socket", "baseUrl"].some((name) => {
    const source = command.getOptionValueSource(name);
    return source !== undefined && source !== "default";
  });
  if (isGiven || url === undefined || token === undefined) return undefined;
  const { hubIn } = await import("./hub.ts"); // needed where a Hub starts it
  return hubIn(process.env);
}

async function serve(
  options: ServeOptions,
  terminal: Terminal,
  hub: Hub | undefined,
): Promise<ExitCode> {
  const givenOptions = toServerOptions(options);
  privateDirectory(); // fails here, before anything runs, if it cannot be made
  if (hub === undefined) await warn(options, terminal);
  delete process.env["KALLICHORE_TOKEN"]; // kernels inherit the environment
  await using book = openBook(options);
  const { log } = book;
  const state = options.keep === true ? stateOf(options) : undefined;
  const isReplacing = options.replace === true && state !== undefined;
  const ahead = isReplacing ? await takeOver(state) : undefined;
  const serverOptions =
    ahead === undefined
      ? givenOptions
      : { ...givenOptions, keep: { ...givenOptions.keep, ahead } };
  using _pid = pidFile(options);
  const setting = { options, serverOptions, terminal, hub, book, state };
  for (let isFirst = true; ; isFirst = false) {
    const { isLeft, uncaught } = await serveOnce(setting, isFirst);
    if (uncaught > 0) {
      throw new CommandError(
        "internal_error",
        "The server ended because of a bug in Kallichore; its log has the details. Please report it.",
      );
    }
    if (!isLeft || state === undefined) return "ok";
    const successor = await successorOf(state, log);
    if (successor !== "failed") return "ok";
  }
}

interface Setting {
  readonly options: ServeOptions;
  readonly serverOptions: ServerOptions;
  readonly terminal: Terminal;
  readonly hub: Hub | undefined;
  readonly book: LogBook;
  /** The state directory, if sessions are kept. */
  readonly state: string | undefined;
}

interface Served {
  /** Whether the kernels were left to another server. */
  readonly isLeft: boolean;
  /** The number of bugs that were caught. */
  readonly uncaught: number;
}

/** Runs a server until somebody or something ends it. */
async function serveOnce(setting: Setting, isFirst: boolean): Promise<Served> {
  const { options, serverOptions, hub, book, state } = setting;
  const { log } = book;
  const stop = new AbortController();
  /** Whether a client has asked for the end, so that kept kernels end too. */
  let isAsked = false as boolean;
  const force = new AbortController();
  using _signals = onSignals((signal, count) => {
    if (count === 1) stop.abort(signal);
    else if (count === 2) force.abort();
    else process.exit(130);
  });
  let uncaught = 0;
  using _uncaught = onUncaughtError(log, () => {
    uncaught += 1;
    if (uncaught === 1) stop.abort("a bug in Kallichore");
    else force.abort();
  });

  const server = await open(
    {
      ...serverOptions,
      acceptsToken: hub?.acceptsToken(log),
      log,
      onLogLevel: (level) => (book.filter = filterAt(level)),
    },
    options.portRetries,
  );
  const isLeft = () => state !== undefined && !isAsked;
  try {
    if (server.token !== undefined) book.conceal(server.token);
    void server.shutdownRequested.then((why) => {
      isAsked = true;
      stop.abort(why);
    }); // never rejects
    using _replacing = state === undefined ? undefined : onReplaceSignal(log);
    const record = recordOf(server);
    using _written = writeServerRecord(record); // removed before the server ends, so that no new client connects
    if (isFirst) await announce(record, setting);
    using _reports = hub?.reportActivity(server.supervisor, log);
    await untilAborted(stop.signal);
    log.info(`The server ends: ${stop.signal.reason as string}`);
  } finally {
    if (isLeft()) await letGo(server, force.signal);
    else await shutDown(server, force.signal);
  }
  return { isLeft: isLeft(), uncaught };
}

async function announce(
  record: ServerRecord,
  { options, terminal, hub }: Setting,
): Promise<void> {
  if (options.json === true) await terminal.json(record);
  else if (hub === undefined) {
    await greet(record, terminal.out, { isKept: options.keep === true });
  } else await terminal.out.line(hub.greeting); // the Hub's log is no place for the token
}

/** SIGUSR2 asks the server to let the version that is installed now go on in its place. */
function onReplaceSignal(log: Log): Disposable {
  if (process.platform === "win32") return { [Symbol.dispose]() {} };
  const replace = () => startSuccessor(log);
  process.on("SIGUSR2", replace);
  return { [Symbol.dispose]: () => void process.off("SIGUSR2", replace) };
}

/** Writes the process id. The file is removed at the end, unless another process has written its own. Throws `usage`. */
function pidFile({ pidFile: path }: ServeOptions): Disposable {
  if (path === undefined) return { [Symbol.dispose]() {} };
  const text = `${process.pid}\n`;
  try {
    writeFileSync(path, text);
  } catch (cause) {
    throw new CommandError(
      "usage",
      `The process id cannot be written to ${path}: ${whyOf(cause)}`,
      { cause },
    );
  }
  return {
    [Symbol.dispose]() {
      try {
        if (readFileSync(path, "utf8") === text) rmSync(path);
      } catch {
        // It was removed already.
      }
    },
  };
}

/** Throws `usage` if the log file cannot be written. */
function openBook({ logLevel, logFile, replace }: ServeOptions): LogBook {
  try {
    return new LogBook({
      filter: filterAt(logLevel),
      file: logFile,
      isContinued: replace,
      onStderr: true,
    });
  } catch (cause) {
    const why = whyOf(cause);
    throw new CommandError(
      "usage",
      `The log file ${logFile} cannot be written: ${why}`,
      { cause },
    );
  }
}

/** Ends the server alone. Resolves when what clients wait for is written, or after a limit; the next server finds what was written. */
async function letGo(server: RunningServer, force: AbortSignal): Promise<void> {
  using limit = deadline([force], SHUTDOWN_TIMEOUT_MS);
  await Promise.race([server.letGo(), untilAborted(limit.signal)]);
  if (limit.signal.aborted) server.removeFiles();
}

/** Resolves when everything has ended. Throws `internal_error` if something does not end in time. */
async function shutDown(
  server: RunningServer,
  force: AbortSignal,
): Promise<void> {
  const closed = server[Symbol.asyncDispose]();
  using limit = deadline([force], SHUTDOWN_TIMEOUT_MS);
  await Promise.race([closed, untilAborted(limit.signal)]);
  if (!limit.signal.aborted) return;
  for (const session of server.supervisor.sessions) {
    session.kill().catch(() => {}); // its kernel has already ended
  }
  const killLimit = AbortSignal.timeout(KILL_TIMEOUT_MS);
  await Promise.race([closed, untilAborted(killLimit)]);
  if (killLimit.aborted) {
    server.removeFiles();
    throw new CommandError(
      "internal_error",
      `The server could not end everything within ${KILL_TIMEOUT_MS / 1000} s after it killed the kernels. Processes that it started may still run.`,
    );
  }
}

/** `retries`: how many of the next ports to try. Throws `refused`. */
async function open(
  options: ServerOptions,
  retries: number,
): Promise<RunningServer> {
  try {
    return await startServer(options);
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    const next = nextPort(options.address);
    if (code === "EADDRINUSE" && retries > 0 && next !== undefined) {
      return await open({ ...options, address: next }, retries - 1);
    }
    const where = describeAddress(options.address);
    const hint =
      code === "EADDRINUSE"
        ? "Choose another --port, or 0 for a free one. Your running servers: kallichore servers"
        : undefined; // in a Hub's terminal, too
    throw new CommandError(
      "refused",
      `The server cannot listen on ${where}: ${whyOf(cause)}`,
      { hint, cause },
    );
  }
}

function nextPort(address: ServerOptions["address"]): ServerOptions["address"] {
  if (address?.transport !== "tcp" || address.port >= 65_535) return undefined;
  return { ...address, port: address.port + 1 };
}

/** The address as a person reads it. */
function describeAddress(address: ServerOptions["address"]): string {
  switch (address?.transport) {
    case "socket":
      return address.path;
    case "named-pipe":
      return address.name;
    case "tcp":
      return `${address.host}, port ${address.port}`;
    case undefined:
      return "a free port";
  }
}

async function warn(
  { host, socket, token, allowHost }: ServeOptions,
  { err }: Terminal,
): Promise<void> {
  const print = (text: string) => err.line(`${err.colors.yellow("!")} ${text}`);
  if (token === "none") {
    await print(
      "No token: every program of every user on this machine can run code as you.",
    );
  } else if (token !== undefined && isPublic(token)) {
    await print(`Others can read ${token}: chmod 600 '${token}'`);
  }
  if (socket !== undefined || isLoopback(host)) return;
  await print(
    `Listening on ${host}: everybody who can reach it and has the token can run code as you, and nothing is encrypted.`,
  );
  if (allowHost.length === 0) {
    await print(
      "Requests that use a host name are refused; to allow a name, add --allow-host NAME.",
    );
  }
}
