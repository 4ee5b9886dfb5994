/**
 * The command `kallichore`: which commands there are, how each ends, and what
 * is said when one fails.
 */
import { Command, CommanderError } from "commander";
import { VERSION } from "../package/version.ts";
import { attachCommand } from "./attach.ts";
import { completionCommand, namesCommand } from "./completion.ts";
import type { CommandContext } from "./context.ts";
import { controlCommands, startCommand } from "./control.ts";
import { execCommand } from "./exec.ts";
import { CommandError, type ExitCode, exitHelp, exits } from "./exit.ts";
import { kernelsCommand } from "./kernels.ts";
import { closest } from "./names.ts";
import { psCommand, serversCommand } from "./ps.ts";
import { recordSessionCommand } from "./record-session.ts";
import { report } from "./report.ts";
import { serveCommand } from "./serve.ts";
import { openTerminal } from "./terminal.ts";

/** Resolves with the exit code, once all that was said has been read, or nobody reads any more. Never rejects. */
export async function run(args: readonly string[]): Promise<number> {
  const terminal = openTerminal();
  let exit: ExitCode = "ok";
  let json = false;
  const context: CommandContext = { terminal, finish: (how) => (exit = how) };
  const program = programOf(context);
  program.hook("preAction", (_program, command) => {
    json = command.opts()["json"] === true;
  });
  try {
    await program.parseAsync(args, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) {
      exit = error.exitCode === 0 ? "ok" : "usage";
    } else exit = await report(error, json, terminal);
  }
  await terminal.flush();
  // Who ends because nobody reads is not to be told from one whom the signal ended.
  return exits[isBrokenPipe(terminal.gone) ? "broken_pipe" : exit][0];
}

function programOf(context: CommandContext): Command {
  const { out, err } = context.terminal;
  const program = new Command("kallichore")
    .description(
      "Runs code on Jupyter kernels: starts them, watches them, connects you to them.",
    )
    .version(VERSION, "-V, --version", "say which version this is")
    .helpOption("-h, --help", "explain a command")
    .helpCommand(false)
    .showHelpAfterError("(--help explains it)")
    .configureHelp({ showGlobalOptions: false })
    .exitOverride()
    .configureOutput({
      writeOut: (text) => void out.write(text), // never rejects
      writeErr: (text) => void err.write(text),
      getOutHasColors: () => out.colors.isColorSupported,
      getErrHasColors: () => err.colors.isColorSupported,
    })
    .addHelpText(
      "after",
      [
        "",
        "First steps:",
        "  $ kallichore exec 'print(6 * 7)'       # run code on a kernel that ends with it",
        "  $ kallichore serve                     # run a server; then, elsewhere:",
        "  $ kallichore start python3 --id work   # a session that stays",
        "  $ kallichore attach work               # talk to it",
        "",
        exitHelp(Object.keys(exits) as ExitCode[]),
      ].join("\n"),
    );
  const commands = [
    serveCommand(context),
    execCommand(context),
    kernelsCommand(context),
    startCommand(context),
    attachCommand(context),
    recordSessionCommand(context),
    psCommand(context),
    ...controlCommands(context),
    serversCommand(context),
    completionCommand(context),
  ];
  for (const command of commands) {
    program.addCommand(command.copyInheritedSettings(program));
  }
  program.addCommand(helpCommand(program).copyInheritedSettings(program));
  program.addCommand(namesCommand(context), { hidden: true });
  return program;
}

/** Commander's own answers a name that it does not know with the list of all commands, and with success. */
function helpCommand(program: Command): Command {
  return new Command("help")
    .summary("explain a command")
    .description("Explains a command, or lists all.")
    .argument("[command]", "its name")
    .action((name: string | undefined) => {
      if (name === undefined) return program.help();
      const known = program.commands.map((command) => command.name());
      const command = program.commands.find((one) => one.name() === name);
      if (command !== undefined) return command.help();
      const close = closest(name, known);
      throw new CommandError("usage", `There is no command ${name}`, {
        hint:
          close === undefined
            ? "To see all commands: kallichore help"
            : `Did you mean ${close}?`,
      });
    });
}

function isBrokenPipe({ aborted, reason }: AbortSignal): boolean {
  return aborted && (reason as NodeJS.ErrnoException).code === "EPIPE";
}
