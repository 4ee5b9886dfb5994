/**
 * The command `kallichore`: which commands there are, how each ends, and which
 * message is printed when one fails.
 */
import { Command, CommanderError } from "commander";
import { VERSION } from "../package/version.ts";
import { adoptCommand } from "./adopt.ts";
import { attachCommand } from "./attach.ts";
import { completionCommand, namesCommand } from "./completion.ts";
import type { CommandContext } from "./context.ts";
import { controlCommands, startCommand } from "./control.ts";
import { doctorCommand } from "./doctor/doctor.ts";
import { execCommand } from "./exec.ts";
import { CommandError, type ExitCode, exitHelp, exits } from "./exit.ts";
import { keeperCommand } from "./keeper.ts";
import { kernelsCommand } from "./kernels.ts";
import { labCommand } from "./lab.ts";
import { closest } from "./names.ts";
import { psCommand, serversCommand } from "./ps.ts";
import { recordSessionCommand } from "./record-session.ts";
import { report } from "./report.ts";
import { serveCommand } from "./serve.ts";
import { sessionsCommand } from "./sessions.ts";
import { stateCommand } from "./state.ts";
import { openTerminal } from "./terminal.ts";

/** Resolves with the exit code when all output has been read, or its reader has left. Never rejects. */
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
  // If the reader of the output has left, the exit code is that of a command which SIGPIPE ended.
  return exits[isBrokenPipe(terminal.gone) ? "broken_pipe" : exit][0];
}

function programOf(context: CommandContext): Command {
  const { out, err } = context.terminal;
  const program = new Command("kallichore")
    .description(
      "Run code on Jupyter kernels, and run a server through which other programs use kernels.",
    )
    .version(VERSION, "-V, --version", "Print the version")
    .helpOption("-h, --help", "Print help")
    .helpCommand(false)
    .showHelpAfterError("(see --help for the usage)")
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
        "Examples:",
        "  $ kallichore exec 'print(6 * 7)'       # run code on a new kernel, then end the kernel",
        "  $ kallichore serve                     # run a server; then, in another terminal:",
        "  $ kallichore start python3 --id work   # start a session that stays",
        "  $ kallichore attach work               # open a prompt on the session",
        "",
        exitHelp(Object.keys(exits) as ExitCode[]),
      ].join("\n"),
    );
  const groups = {
    "Run code:": [
      execCommand(context),
      kernelsCommand(context),
      labCommand(context),
    ],
    "Servers:": [
      serveCommand(context),
      serversCommand(context),
      stateCommand(context),
      doctorCommand(context),
    ],
    "Sessions:": [
      startCommand(context),
      attachCommand(context),
      psCommand(context),
      ...controlCommands(context),
      sessionsCommand(context),
      adoptCommand(context),
      recordSessionCommand(context),
    ],
    "Other commands:": [completionCommand(context)],
  };
  for (const [heading, commands] of Object.entries(groups)) {
    program.commandsGroup(heading);
    for (const command of commands) {
      program.addCommand(command.copyInheritedSettings(program));
      for (const one of command.commands) one.copyInheritedSettings(program);
    }
  }
  program.addCommand(helpCommand(program).copyInheritedSettings(program));
  program.addCommand(keeperCommand(context), { hidden: true });
  program.addCommand(namesCommand(context), { hidden: true });
  return program;
}

/** Commander's own help command answers an unknown name with the list of all commands, and succeeds. */
function helpCommand(program: Command): Command {
  return new Command("help")
    .summary("Print help for a command")
    .description("Print help for a command, or list all commands.")
    .argument("[command]", "Name of the command")
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
