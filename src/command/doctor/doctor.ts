/** `kallichore doctor`: says what servers and keepers have left, and how to mend it. */
import { Command, Option } from "commander";
import { defaultStateRoot } from "../../state/root.ts";
import {
  type CommandContext,
  examples,
  type JsonOption,
  withJson,
} from "../context.ts";
import { exitHelp, type ExitCode } from "../exit.ts";
import { size, span, table } from "../table.ts";
import type { Terminal } from "../terminal.ts";
import type { Examined, ExaminedState } from "./findings.ts";

export interface StateRootOption {
  readonly stateDir?: string;
}

function withStateRoot(command: Command): Command {
  return command.addOption(
    new Option(
      "--state-dir <dir>",
      "Directory with the states of servers (default: $XDG_STATE_HOME/kallichore)",
    ).env("KALLICHORE_STATE_DIR"),
  );
}

/** The options that name one state. */
export function withState(
  command: Command,
  help = "Name of the state (default: default)",
): Command {
  return withStateRoot(command).addOption(
    new Option("--state-name <name>", help).env("KALLICHORE_STATE_NAME"),
  );
}

export function stateRootOf({ stateDir }: StateRootOption): string {
  return stateDir ?? defaultStateRoot(process.env);
}

export function doctorCommand(context: CommandContext): Command {
  const command = new Command("doctor")
    .summary("Find kernels, keepers and files that servers have left")
    .description(
      "Find what servers have left: kernels that run without a server, keepers that no state knows, states that nobody uses, sessions that cannot be read, locks, sockets and files of processes that have ended. For each, print the command that mends it. The command itself changes nothing, and needs no server.",
    );
  withStateRoot(withJson(command, "Print one JSON document"));
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore doctor", "what is left, and what to do"],
          [
            "kallichore doctor --json | jq -r '.findings[].message'",
            "print only what was found",
          ],
        ),
        "",
        exitHelp(["ok", "found"]),
      ].join("\n"),
    )
    .action(async (options: JsonOption & StateRootOption) => {
      context.finish(await doctor(options, context.terminal));
    });
}

async function doctor(
  options: JsonOption & StateRootOption,
  terminal: Terminal,
): Promise<ExitCode> {
  const { examine } = await import("./findings.ts");
  const root = stateRootOf(options);
  const examined = await examine(root);
  if (options.json === true) {
    await terminal.json({ state_directory: root, ...examined });
  } else await print(examined, terminal);
  return examined.findings.length === 0 ? "ok" : "found";
}

async function print(
  { states, findings }: Examined,
  { out, err }: Terminal,
): Promise<void> {
  if (states.length > 0) {
    const now = Date.now();
    const head = [
      ...["STATE", "SERVER", "KEEPER", "KERNELS"],
      ...["SESSIONS", "SIZE", "WRITTEN"],
    ];
    const rows = states.map((state) => rowOf(state, now));
    await out.line(table(head, rows, out.colors));
  }
  for (const { message, mends } of findings) {
    await out.line(`${out.colors.yellow("!")} ${message}.`);
    for (const { purpose, command } of mends) {
      await out.line(`  To ${purpose}:\n      ${command}`);
    }
  }
  if (findings.length === 0) await err.line("Nothing is left to mend");
}

function rowOf(state: ExaminedState, now: number): string[] {
  const pid = (value: number | null) => (value === null ? "-" : String(value));
  return [
    state.name,
    pid(state.server_pid),
    pid(state.keeper_pid),
    String(state.kernels),
    String(state.sessions),
    size(state.bytes),
    `${span(now - Date.parse(state.written))} ago`,
  ];
}
