/** The context that every command receives, and the options that commands share. */
import { type Command, Option } from "commander";
import type { ExitCode } from "./exit.ts";
import type { ServerChoice } from "./find-server.ts";
import type { Terminal } from "./terminal.ts";

export interface CommandContext {
  readonly terminal: Terminal;
  /** How the command ended. Default: `ok`. */
  finish(exit: ExitCode): void;
}

export interface JsonOption {
  readonly json?: boolean | undefined;
}

export type CommonOptions = JsonOption & ServerChoice;

export function withJson(command: Command, help: string): Command {
  return command.option("--json", help);
}

export function withServer(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--server <server>",
        "Server to use: an address, the path of a socket, or a process id (default: your newest server)",
      ).env("KALLICHORE_SERVER"),
    )
    .option(
      "--token <file>",
      "File with the server's token; your own servers need none (or set KALLICHORE_TOKEN to the token itself)",
    );
}

/** The section "Examples" of a help text: one command a line, with its effect. */
export function examples(
  ...lines: readonly (readonly [command: string, effect: string])[]
): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  const shown = lines.map(
    ([command, effect]) => `  $ ${command.padEnd(width)}  # ${effect}`,
  );
  return ["", "Examples:", ...shown].join("\n");
}
