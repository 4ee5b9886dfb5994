/** `kallichore start`, `interrupt`, `restart`, `stop`, `kill`, `delete`: the commands that control sessions. */
import { Command } from "commander";
import type { ActiveSession, Client, Session } from "../../client/index.ts";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  withJson,
  withServer,
} from "./context.ts";
import { CommandError, exitHelp, type ExitCode } from "./exit.ts";
import { openServer } from "./find-server.ts";
import { labelled, type LabelOption, withLabels } from "./labels.ts";
import { limited, type LimitOptions, withLimits } from "./limits.ts";
import { directoryOf, findKernel, findSession } from "./names.ts";
import { describeError } from "./report.ts";
import { withProgress } from "./spinner.ts";
import type { Terminal } from "./terminal.ts";

/** An action on named sessions. */
interface Action {
  readonly summary: string;
  readonly description: string;
  readonly doing: string;
  readonly done: string;
  readonly example: readonly [command: string, effect: string];
  /** Which sessions `--all` means; there is no such option if not set. */
  readonly all?: {
    readonly help: string;
    readonly matches: (session: ActiveSession) => boolean;
  };
  run(session: Session): Promise<void>;
}

const actions: Readonly<Record<string, Action>> = {
  interrupt: {
    summary: "Interrupt the code that a session runs",
    description:
      "Interrupt the running code, as Ctrl-C would. The kernel and its variables stay.",
    doing: "Interrupting",
    done: "Interrupted",
    example: ["kallichore interrupt py", "the session whose id begins with py"],
    run: (session) => session.interrupt(),
  },
  restart: {
    summary: "End a session's kernel and start a new one",
    description:
      "End the session's kernel and start a new one. The variables are lost; attached clients stay attached. A session without a kernel gets one.",
    doing: "Restarting",
    done: "Restarted",
    example: ["kallichore restart py", "give it a new kernel"],
    run: (session) => session.restart(),
  },
  stop: {
    summary: "Shut down a session's kernel",
    description:
      "Shut down the session's kernel: ask it to end, then terminate it, then kill it. The session stays in the list: 'kallichore restart' gives it a new kernel, 'kallichore delete' removes it.",
    doing: "Stopping",
    done: "Stopped",
    example: ["kallichore stop py r", "two sessions"],
    all: {
      help: "Every session that has a kernel",
      matches: ({ status }) => hasKernel(status),
    },
    run: (session) => session.shutdown(),
  },
  kill: {
    summary: "Kill a session's kernel at once",
    description:
      "Kill the kernel and all processes that it started, at once. Unsaved work is lost.",
    doing: "Killing",
    done: "Killed",
    example: ["kallichore kill py", "the session whose id begins with py"],
    run: (session) => session.kill(),
  },
  delete: {
    summary: "Delete a session whose kernel has ended",
    description:
      "Delete a session and its recorded messages. Its kernel must have ended: run 'kallichore stop' first.",
    doing: "Deleting",
    done: "Deleted",
    example: ["kallichore delete py", "the session whose id begins with py"],
    all: {
      help: "Every session whose kernel has ended",
      matches: ({ status }) => status === "exited",
    },
    run: (session) => session.delete(),
  },
};

export function controlCommands(context: CommandContext): Command[] {
  return Object.entries(actions).map(([name, action]) => {
    const command = new Command(name)
      .summary(action.summary)
      .description(action.description)
      .argument(
        action.all === undefined ? "<session...>" : "[session...]",
        "Id of a session, or an unambiguous beginning of it",
      );
    if (action.all !== undefined) command.option("--all", action.all.help);
    withServer(withJson(command, "Print one JSON document"));
    return command
      .addHelpText(
        "after",
        [
          examples(action.example),
          "",
          exitHelp(["ok", "kernel_died", "refused"]),
        ].join("\n"),
      )
      .action(async (named: string[], options: ActionOptions) => {
        assertNamed(named, options);
        await using server = await openServer(options);
        const names =
          options.all === true
            ? await namesOfAll(action, server.client)
            : named;
        context.finish(
          await runAction(action, names, {
            ...options,
            client: server.client,
            terminal: context.terminal,
          }),
        );
      });
  });
}

type ActionOptions = CommonOptions & { readonly all?: boolean };

/** Throws `usage`. */
function assertNamed(names: readonly string[], { all }: ActionOptions): void {
  if (names.length > 0 !== (all === true)) return;
  throw new CommandError("usage", "Name the sessions, or give --all");
}

async function namesOfAll({ all }: Action, client: Client): Promise<string[]> {
  const sessions = await client.sessions.list();
  return sessions
    .filter((session) => all?.matches(session) === true)
    .map(({ session_id }) => session_id);
}

function hasKernel(status: ActiveSession["status"]): boolean {
  return status !== "exited" && status !== "uninitialized";
}

/** Runs the action for each session, one after the other. It continues after a failure; if there is only one session, it throws the failure. */
async function runAction(
  action: Action,
  names: readonly string[],
  {
    client,
    terminal,
    json,
  }: { client: Client; terminal: Terminal; json?: boolean | undefined },
): Promise<ExitCode> {
  const { err } = terminal;
  const sessions: string[] = [];
  const failures: Failed[] = [];
  let exit: ExitCode = "ok";
  for (const name of names) {
    try {
      const { session_id: id } = await findSession(client, name);
      const work = action.run(client.session(id));
      await withProgress(err, `${action.doing} ${id}`, work);
      sessions.push(id);
      if (json !== true) await err.line(`${action.done} ${id}`);
    } catch (error) {
      if (names.length === 1) throw error;
      const { message, reason, hint, ...described } = describeError(error);
      exit = described.exit;
      failures.push({ name, message, reason, hint });
      if (json === true) continue;
      await err.line(`${err.colors.red("kallichore:")} ${message}`);
      if (hint !== undefined) await err.line(hint);
    }
  }
  if (json === true) {
    await terminal.json({ sessions, failures });
  }
  return exit;
}

/** A session for which the action failed. */
interface Failed {
  readonly name: string;
  readonly message: string;
  readonly reason: string | undefined;
  readonly hint: string | undefined;
}

interface StartOptions extends CommonOptions, LabelOption, LimitOptions {
  readonly id?: string;
  readonly cwd?: string;
}

export function startCommand(context: CommandContext): Command {
  const command = new Command("start")
    .summary("Start a session")
    .description(
      "Start a session with its own kernel on the running server, and print the session's id. The session runs until it is stopped or the server ends.",
    )
    .argument(
      "[kernel]",
      "Name of the kernel (default: the server's default kernel)",
    )
    .option("--id <id>", "Id of the session (default: a random id)")
    .option(
      "--cwd <dir>",
      "Working directory of the kernel (default: the current one)",
    );
  withLabels(command, "Label of the session, for 'kallichore ps --label'");
  withLimits(command);
  withServer(withJson(command, "Print the session as one JSON document"));
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore start", "start the default kernel"],
          ["kallichore start ir --id stats", "start R, in the session stats"],
          ["kallichore exec -s stats 'x <- 1:10'", "run code in the session"],
          ["kallichore attach stats", "open a prompt on the session"],
        ),
        "",
        exitHelp(["ok", "kernel_died", "refused"]),
      ].join("\n"),
    )
    .action(async (kernel: string | undefined, options: StartOptions) => {
      context.finish(await start(kernel, options, context.terminal));
    });
}

async function start(
  kernel: string | undefined,
  { id, cwd, json, label, memory, cpus, runTime, ...choice }: StartOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  await using server = await openServer(choice);
  const { client } = server;
  const name = await findKernel(client, kernel);
  const session = await withProgress(
    terminal.err,
    `Starting ${name}`,
    client.start(name, {
      ...(id !== undefined && { session_id: id }),
      ...directoryOf(cwd),
      ...labelled({ label }),
      ...limited({ memory, cpus, runTime }),
    }),
  );
  if (json === true) await terminal.json(await session.info());
  else await terminal.out.line(session.session_id);
  session.detach();
  return "ok";
}
