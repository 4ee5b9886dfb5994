/** `kallichore exec`: runs code, prints its output, and exits with a code that says how the code ended. */
import { randomBytes } from "node:crypto";
import { Command, Option } from "commander";
import type { Client, Session } from "../../client/index.ts";
import { readCode } from "./code.ts";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  withJson,
  withServer,
} from "./context.ts";
import { Ending, watchConnection } from "./ending.ts";
import { exitHelp, exits, type ExitCode } from "./exit.ts";
import {
  type ServerConnection,
  startEmbedded,
  findServer,
  openServer,
} from "./find-server.ts";
import { duration } from "./duration.ts";
import { labelled, labelOption, type LabelOption } from "./labels.ts";
import { limited, type LimitOptions, withLimits } from "./limits.ts";
import { directoryOf, findKernel, findRunning } from "./names.ts";
import { savingIn } from "./pictures.ts";
import { runCode } from "./run.ts";
import { forPeople, forPrograms } from "./show.ts";
import { withProgress } from "./spinner.ts";
import type { Terminal } from "./terminal.ts";

/** Days. A timer cannot be set for much longer. */
const LONGEST_DAYS = 14;

interface ExecOptions extends CommonOptions, LabelOption, LimitOptions {
  readonly kernel?: string;
  readonly session?: string;
  readonly file?: string;
  readonly embed?: boolean;
  readonly saveTo?: string;
  readonly timeout?: number;
  readonly cwd?: string;
}

export function execCommand(context: CommandContext): Command {
  const command = new Command("exec")
    .summary("Run code and show its output")
    .description(
      "Run code and show its output as it arrives. The code's standard output and results go to standard output; its standard error and tracebacks go to standard error. Without -s the code gets its own kernel, which ends with the code. The kernel runs on your running server, or in this process if no server runs.",
    )
    .argument(
      "[code]",
      "The code; '-', or no argument in a pipe: read the code from standard input",
    )
    .addOption(
      new Option(
        "-k, --kernel <name>",
        "Kernel that runs the code (default: the server's default kernel)",
      ).conflicts("session"),
    )
    .option(
      "-s, --session <session>",
      "Run the code in this session, with its variables",
    )
    .option("-f, --file <file>", "Read the code from a file")
    .addOption(
      new Option(
        "--embed",
        "Run the kernel in this process, even if a server runs",
      ).conflicts(["session", "server"]),
    )
    .option(
      "--save-to <dir>",
      "Directory for pictures: picture-1.png and so on; no file is overwritten",
    )
    .addOption(
      new Option(
        "--timeout <time>",
        "Time after which the code is interrupted, such as 90s or 0.5; the exit code is then 124",
      ).argParser(duration(Number.MIN_VALUE, LONGEST_DAYS)),
    )
    .addOption(
      new Option(
        "--cwd <dir>",
        "Working directory of the kernel (default: the current one)",
      ).conflicts("session"),
    )
    .addOption(
      labelOption(
        "Label of the code's session, for 'kallichore ps --label'",
      ).conflicts("session"),
    );
  withLimits(command);
  withServer(
    withJson(
      command,
      "Print one JSON object a line: each output, then how the code ended",
    ),
  );
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore exec 'print(6 * 7)'", "run on the default kernel"],
          ["kallichore exec -k ir 'summary(cars)'", "run on R"],
          [
            "kallichore exec -f report.py --save-to figures",
            "run a file and save its plots",
          ],
          ["echo 'print(1)' | kallichore exec", "read the code from a pipe"],
          [
            "kallichore exec -s work 'x + 1'",
            "run in a session, where x exists",
          ],
          ["kallichore exec --json '1/0' | jq", "print JSON for programs"],
        ),
        "",
        "When the code asks for input, you answer at the terminal, or the lines of standard\ninput answer, one for each prompt. Code that was read from standard input cannot\nask for input.",
        "",
        "Ctrl-C interrupts the code. The second Ctrl-C kills the kernel; with -s it leaves\nthe session as it is.",
        "",
        exitHelp([
          "ok",
          "code_error",
          "kernel_died",
          "refused",
          "usage",
          "timeout",
          "interrupted",
          "broken_pipe",
        ]),
      ].join("\n"),
    )
    .action(async (code: string | undefined, options: ExecOptions) => {
      context.finish(await exec(code, options, context.terminal));
    });
}

async function exec(
  argument: string | undefined,
  options: ExecOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const code = await readCode(argument, options.file);
  const { saveTo, timeout } = options;
  const savePicture = saveTo === undefined ? undefined : savingIn(saveTo);
  const isJson = options.json === true;
  using ending = new Ending(terminal.gone);
  await using server = await connect(options);
  using _watch = watchConnection(server.client, ending, terminal.err);
  const target = await sessionFor(server.client, options);
  const { session, isOurs } = target;
  try {
    if (isJson) await terminal.json({ type: "session", ...target.described });
    if (isOurs) {
      const starting = ending.orEnd(session.start());
      const text = `Starting ${target.described.kernel}`;
      await withProgress(terminal.err, text, starting);
    }
    const ran = await runCode(code, session, {
      terminal,
      ending,
      isOurs,
      show: (isJson ? forPrograms : forPeople)(terminal, { savePicture }),
      timeout_ms: timeout === undefined ? undefined : timeout * 1000,
    });
    const exit_code = exits[ran.exit][0];
    if (isJson)
      await terminal.json({ type: "end", ...ran, exit: undefined, exit_code });
    return ran.exit;
  } finally {
    await leave(target, ending.hasEnded);
  }
}

async function connect(options: ExecOptions): Promise<ServerConnection> {
  if (options.session !== undefined) return openServer(options);
  if (options.embed === true) return startEmbedded();
  return (await findServer(options)) ?? (await startEmbedded());
}

interface ExecTarget {
  readonly session: Session;
  /** Whether the session ends with the command. */
  readonly isOurs: boolean;
  readonly described: { readonly session_id: string; readonly kernel: string };
}

async function sessionFor(
  client: Client,
  { session: name, kernel, cwd, label, ...limits }: ExecOptions,
): Promise<ExecTarget> {
  if (name !== undefined) {
    const found = await findRunning(client, name);
    const { session_id, kernel_name, display_name } = found;
    return {
      session: client.session(session_id),
      isOurs: false,
      described: { session_id, kernel: kernel_name ?? display_name },
    };
  }
  const kernel_name = await findKernel(client, kernel);
  const session = await client.sessions.create({
    session_id: `exec-${randomBytes(4).toString("hex")}`,
    kernel_name,
    ...directoryOf(cwd),
    ...labelled({ label }),
    ...limited(limits),
  });
  const { session_id } = session;
  return {
    session,
    isOurs: true,
    described: { session_id, kernel: kernel_name },
  };
}

/** Ends the command's own session; kills its kernel if the command was cut short. Errors are ignored, because the command reports how the code ended. */
async function leave(
  { session, isOurs }: ExecTarget,
  isCutShort: boolean,
): Promise<void> {
  try {
    if (isOurs && isCutShort) await session.kill();
  } catch {
    // The session has no kernel.
  }
  try {
    await session[Symbol.asyncDispose]();
  } catch {
    // The server has ended, and the session with it.
  }
}
