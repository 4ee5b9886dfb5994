/**
 * Completion for shells: a small script for each shell. The script calls the
 * hidden command `__names` for names that only the running server knows.
 */
import { Argument, Command } from "commander";
import { type CommandContext, examples } from "./context.ts";
import { findServer } from "./find-server.ts";

/** A person who presses Tab waits this long at most. */
const TIMEOUT_MS = 1_000;

const shells = ["bash", "zsh", "fish"] as const;
type Shell = (typeof shells)[number];

export function completionCommand(context: CommandContext): Command {
  return new Command("completion")
    .summary("Print a completion script for your shell")
    .description(
      "Print a script that makes your shell complete commands, options, kernels and sessions.",
    )
    .addArgument(new Argument("<shell>", "Name of the shell").choices(shells))
    .addHelpText(
      "after",
      examples(
        ['eval "$(kallichore completion bash)"', "in ~/.bashrc"],
        ['eval "$(kallichore completion zsh)"', "in ~/.zshrc, after compinit"],
        [
          "kallichore completion fish | source",
          "in ~/.config/fish/config.fish",
        ],
      ),
    )
    .action(async (shell: Shell, _options: unknown, command: Command) => {
      await context.terminal.out.write(
        scriptFor(shell, factsOf(command.parent)),
      );
    });
}

/** Prints names, one a line; nothing if they are not available in time. */
export function namesCommand(context: CommandContext): Command {
  return new Command("__names")
    .addArgument(new Argument("<kind>").choices(["sessions", "kernels"]))
    .action(async (kind: "sessions" | "kernels") => {
      const names = await Promise.race([namesOf(kind), noneAfterTimeout()]);
      for (const name of names) await context.terminal.out.line(name);
    });
}

async function namesOf(kind: "sessions" | "kernels"): Promise<string[]> {
  try {
    await using server = await findServer({});
    if (server === undefined) return [];
    const { client } = server;
    if (kind === "sessions") {
      return (await client.sessions.list()).map(({ session_id }) => session_id);
    }
    return (await client.kernelspecs()).kernelspecs.map(({ name }) => name);
  } catch {
    return []; // a message would disturb the command line that is being typed
  }
}

function noneAfterTimeout(): Promise<string[]> {
  return new Promise((resolve) =>
    setTimeout(() => resolve([]), TIMEOUT_MS).unref(),
  );
}

interface CommandFacts {
  readonly name: string;
  readonly summary: string;
  /** And commands below this one, with theirs. */
  readonly options: readonly string[];
  /** The kind of its arguments. */
  readonly argument: "sessions" | "kernels" | "shells" | undefined;
}

function factsOf(program: Command | null): CommandFacts[] {
  const commands = program?.commands ?? [];
  return commands
    .filter((command) => !command.name().startsWith("__"))
    .map((command) => ({
      name: command.name(),
      summary: command.summary(),
      options: wordsOf(command),
      argument: argumentOf(command),
    }));
}

function wordsOf({ options, commands }: Command): string[] {
  return [
    ...options.flatMap(({ long }) => long ?? []),
    ...commands.flatMap((one) => [one.name(), ...wordsOf(one)]),
  ];
}

function argumentOf(command: Command): CommandFacts["argument"] {
  switch (command.registeredArguments[0]?.name()) {
    case "session":
      return "sessions";
    case "kernel":
      return "kernels";
    case "shell":
      return "shells";
    default:
      return undefined;
  }
}

function scriptFor(shell: Shell, commands: readonly CommandFacts[]): string {
  switch (shell) {
    case "bash":
      return bash(commands);
    case "zsh":
      return `autoload -Uz bashcompinit && bashcompinit\n${bash(commands)}`;
    case "fish":
      return fish(commands);
  }
}

function bash(commands: readonly CommandFacts[]): string {
  const cases = commands.map(({ name, options, argument }) => {
    const names =
      argument === undefined
        ? ""
        : argument === "shells"
          ? shells.join(" ")
          : `$(kallichore __names ${argument} 2>/dev/null)`;
    return `    ${name}) words="${[...options, "--help"].join(" ")} ${names}" ;;`;
  });
  return `_kallichore() {
  local current=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD-1]} words
  case $before in
    -k|--kernel) words=$(kallichore __names kernels 2>/dev/null) ;;
    -s|--session) words=$(kallichore __names sessions 2>/dev/null) ;;
    -f|--file|--token|--socket|--log-file|--save-to|--cwd|--kernelspec-dir)
      COMPREPLY=($(compgen -f -- "$current")); return ;;
  esac
  if [ -z "$words" ]; then
  if [ "$COMP_CWORD" -eq 1 ]; then words="${commands.map(({ name }) => name).join(" ")} --help --version"
  else case \${COMP_WORDS[1]} in
${cases.join("\n")}
  esac; fi; fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}
complete -F _kallichore kallichore
`;
}

function fish(commands: readonly CommandFacts[]): string {
  const quote = (text: string) => `'${text.replaceAll("'", "\\'")}'`;
  const lines = ["complete -c kallichore -f"];
  for (const { name, summary, options, argument } of commands) {
    const when = quote(`__fish_seen_subcommand_from ${name}`);
    lines.push(
      `complete -c kallichore -n __fish_use_subcommand -a ${name} -d ${quote(summary)}`,
    );
    for (const option of new Set(options)) {
      const word = option.startsWith("--")
        ? `-l ${option.slice(2)}`
        : `-a ${option}`;
      lines.push(`complete -c kallichore -n ${when} ${word}`);
    }
    if (argument === "shells") {
      lines.push(`complete -c kallichore -n ${when} -a '${shells.join(" ")}'`);
    } else if (argument !== undefined) {
      lines.push(
        `complete -c kallichore -n ${when} -a '(kallichore __names ${argument} 2>/dev/null)'`,
      );
    }
  }
  const exec = "'__fish_seen_subcommand_from exec'";
  lines.push(
    `complete -c kallichore -n ${exec} -s k -l kernel -x -a '(kallichore __names kernels 2>/dev/null)'`,
    `complete -c kallichore -n ${exec} -s s -l session -x -a '(kallichore __names sessions 2>/dev/null)'`,
    `complete -c kallichore -n ${exec} -s f -l file -r -F`,
  );
  return `${lines.join("\n")}\n`;
}
