/**
 * `kallichore lab`: the JupyterLab of this machine with this server as its
 * gateway. JupyterLab keeps files, settings and terminals; kernels run here.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { Command } from "commander";
import { ProcessGroup } from "../host/process-group.ts";
import { findProgram } from "../host/program.ts";
import { startServer } from "../serve.ts";
import { type CommandContext, examples, withServer } from "./context.ts";
import { CommandError, exitHelp, type ExitCode } from "./exit.ts";
import {
  findServer,
  type ServerAddress,
  type ServerChoice,
} from "./find-server.ts";
import { recordOf } from "./greeting.ts";
import { writeServerRecord } from "./record.ts";
import { onSignals } from "./signals.ts";
import type { Terminal } from "./terminal.ts";

/** How long JupyterLab may take to end after SIGTERM. It shuts its kernels down meanwhile. */
const END_TIMEOUT_MS = 15_000;

export function labCommand(context: CommandContext): Command {
  const command = new Command("lab")
    .summary("Open JupyterLab, with its kernels on the server")
    .description(
      "Start the JupyterLab of this machine, whose kernels then run on a kallichore server: the named one, your newest running one, or one that ends with the command.",
    )
    .argument("[arguments...]", "Arguments of JupyterLab, after --");
  return withServer(command)
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore lab", "open JupyterLab in a browser"],
          ["kallichore lab -- --no-browser --port 8889", "only start it"],
        ),
        "",
        "Ctrl-C ends JupyterLab, which shuts its kernels down, and then a server that was\nstarted for it. A second Ctrl-C kills JupyterLab.",
        "",
        exitHelp(["ok", "refused", "usage"]),
      ].join("\n"),
    )
    .action(async (args: string[], choice: ServerChoice) => {
      context.finish(await lab(args, choice, context.terminal));
    });
}

async function lab(
  args: readonly string[],
  choice: ServerChoice,
  { err }: Terminal,
): Promise<ExitCode> {
  const program = await findJupyterLab();
  await using found = await serverFor(choice);
  await using gateway = await gatewayTo(found.address);
  const { url, token } = gateway;
  const child = spawn(program, [`--gateway-url=${url}`, ...args], {
    env: environmentFor(token),
    stdio: ["ignore", "inherit", "inherit"],
    detached: process.platform !== "win32", // the terminal's Ctrl-C is ours alone
  });
  await using running = await ownedBy(child, program);
  using _signals = onSignals((_, count) => running.end(count > 1));
  await err.line(
    `JupyterLab uses the kernels of ${url} (process ${child.pid}; Ctrl-C ends it)`,
  );
  const code = await running.ended;
  if (code === 0 || running.isEnding) return "ok";
  throw new CommandError("refused", `JupyterLab ended with ${code}`, {
    hint: "Its output above has the reason.",
  });
}

/** Throws `refused` if this machine has none. */
async function findJupyterLab(): Promise<string> {
  const { env } = process;
  const { VIRTUAL_ENV } = env;
  const folder = process.platform === "win32" ? "Scripts" : "bin";
  const places =
    VIRTUAL_ENV === undefined ? [] : [join(VIRTUAL_ENV, folder, "jupyter-lab")];
  for (const place of [...places, "jupyter-lab"]) {
    const found = await findProgram(place, { env, cwd: process.cwd() });
    if (found !== undefined) return found;
  }
  throw new CommandError("refused", "This machine has no JupyterLab", {
    hint: "Install it with one of:\n  python3 -m pip install jupyterlab\n  pipx install jupyterlab\n  conda install -c conda-forge jupyterlab",
  });
}

interface FoundServer extends AsyncDisposable {
  readonly address: ServerAddress;
}

/** A running server, or one that ends with the command; other commands find it, too. */
async function serverFor(choice: ServerChoice): Promise<FoundServer> {
  const found = await findServer(choice);
  if (found !== undefined) return found;
  const server = await startServer();
  const record = writeServerRecord(recordOf(server));
  return {
    address: { where: { url: server.url ?? "" }, token: server.token },
    async [Symbol.asyncDispose]() {
      record[Symbol.dispose]();
      await server[Symbol.asyncDispose]();
    },
  };
}

interface Gateway extends AsyncDisposable {
  readonly url: string;
  readonly token: string | undefined;
}

/** JupyterLab connects only to TCP. For a server on a socket, this process listens on loopback and relays all data. Throws `refused`. */
async function gatewayTo({ where, token }: ServerAddress): Promise<Gateway> {
  if ("url" in where) {
    return { url: where.url, token, async [Symbol.asyncDispose]() {} };
  }
  if (token === undefined) {
    throw new CommandError(
      "refused",
      "The server needs no token, because only you can reach its socket; on a port every user of this machine could use it",
      { hint: "Start the server with a token." },
    );
  }
  const { socketPath, basePath = "" } = where;
  const open = new Set<{ destroy(): void }>();
  const server = createServer((client) => {
    const upstream = connect(socketPath);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(from);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        open.delete(from);
        to.destroySoon();
      });
      from.pipe(to);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}${basePath}`,
    token,
    async [Symbol.asyncDispose]() {
      const closed = once(server, "close");
      server.close();
      for (const socket of open) socket.destroy();
      await closed;
    },
  };
}

/** Arguments can be read by every user of the machine; the environment cannot. */
function environmentFor(token: string | undefined): NodeJS.ProcessEnv {
  const env = { ...process.env };
  delete env["KALLICHORE_TOKEN"];
  return token === undefined
    ? env
    : { ...env, JUPYTER_GATEWAY_AUTH_TOKEN: token };
}

interface RunningLab extends AsyncDisposable {
  /** Resolves with the exit code, or the name of the signal. */
  readonly ended: Promise<number | string>;
  readonly isEnding: boolean;
  /** Asks it to end; `now`, or after a while, it is killed. */
  end(now: boolean): void;
}

/** Throws `refused` if it cannot be started. */
async function ownedBy(
  child: ChildProcess,
  program: string,
): Promise<RunningLab> {
  try {
    await once(child, "spawn");
  } catch (cause) {
    const why = (cause as Error).message;
    throw new CommandError("refused", `${program} cannot be started: ${why}`, {
      cause,
    });
  }
  const group = new ProcessGroup(child.pid ?? 0);
  let hasEnded = false;
  let isEnding = false;
  let timer: NodeJS.Timeout | undefined;
  const ended = once(child, "exit").then(([code, signal]) => {
    hasEnded = true;
    clearTimeout(timer);
    return (code ?? signal) as number | string;
  });
  const killNow = () => void group.kill();
  process.once("exit", killNow);
  const end = (now: boolean) => {
    if (hasEnded) return;
    if (now) killNow();
    else if (!isEnding) {
      void group.terminate();
      timer = setTimeout(killNow, END_TIMEOUT_MS);
    }
    isEnding = true;
  };
  return {
    ended,
    get isEnding() {
      return isEnding;
    },
    end,
    async [Symbol.asyncDispose]() {
      end(false);
      await ended;
      await group.kill(); // the processes that it left behind, such as terminals
      process.off("exit", killNow);
    },
  };
}
