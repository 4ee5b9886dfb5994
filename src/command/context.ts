/** What every command is given, and the options that they share. */
import { type Command, Option } from "commander";
import type { ExitCode } from "./exit.ts";
import type { ServerChoice } from "./find-server.ts";
import type { Terminal } from "./terminal.ts";

export interface CommandContext {
  readonly terminal: Terminal;
  /** How the command ended; `ok` unless said. */
  finish(exit: ExitCode): void;
}

export interface JsonOption {
  readonly json?: boolean | undefined;
}

export type CommonOptions = JsonOption & ServerChoice;

export function withJson(command: Command, what: string): Command {
  return command.option("--json", what);
}

export function withServer(command: Command): Command {
  return command
    .addOption(
      new Option(
        "--server <where>",
        "the server to use: an address, a socket or a process id; the newest of yours unless said",
      ).env("KALLICHORE_SERVER"),
    )
    .option(
      "--token <file>",
      "the file with its token; not needed for your own servers (else: KALLICHORE_TOKEN)",
    );
}

/** Examples belong in help: `$ kallichore …`, one line each, with what it does. */
export function examples(
  ...lines: readonly (readonly [command: string, what: string])[]
): string {
  const width = Math.max(...lines.map(([command]) => command.length));
  const shown = lines.map(
    ([command, what]) => `  $ ${command.padEnd(width)}  # ${what}`,
  );
  return ["", "Examples:", ...shown].join("\n");
}
