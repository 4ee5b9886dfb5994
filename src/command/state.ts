/** `kallichore state export` and `import`: move the state of a server to another machine. */
import { join } from "node:path";
import { Command } from "commander";
import { VERSION } from "../package/version.ts";
import {
  type CommandContext,
  examples,
  type JsonOption,
  withJson,
} from "./context.ts";
import {
  type StateRootOption,
  stateRootOf,
  withState,
} from "./doctor/doctor.ts";
import { serve } from "./doctor/mend.ts";
import { CommandError, exitHelp } from "./exit.ts";
import { size } from "./table.ts";
import type { Terminal } from "./terminal.ts";
import { whyOf } from "./why.ts";

export function stateCommand(context: CommandContext): Command {
  return new Command("state")
    .helpCommand(false)
    .summary("Move the sessions of a server to another machine")
    .description(
      "Write what a server with --keep has kept into one file, and make a state from such a file.",
    )
    .addCommand(exportCommand(context))
    .addCommand(importCommand(context));
}

interface StateOptions extends JsonOption, StateRootOption {
  readonly stateName?: string;
}

interface ExportOptions extends StateOptions {
  readonly withToken?: boolean;
  readonly withEnv?: boolean;
}

function exportCommand({ terminal }: CommandContext): Command {
  const command = new Command("export")
    .summary("Write a state into one file")
    .description(
      "Write a state that no server uses into one private file: its sessions with their histories. Kernels are not moved. The state stays as it is.",
    )
    .argument("<file>", "The new file; one that exists is not overwritten")
    .option(
      "--with-token",
      "Write the token too, so that clients find the server with it again (default: the server gets a new one)",
    )
    .option(
      "--with-env",
      "Write the values of environment variables too, if the state has them (default: only their names)",
    );
  withState(withJson(command, "Print one JSON document"));
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore state export work.kallichore", "the state default"],
          [
            "kallichore state export --state-name lab lab.kallichore",
            "another one",
          ],
        ),
        "",
        exitHelp(["ok", "refused"]),
      ].join("\n"),
    )
    .action(async (file: string, options: ExportOptions) => {
      await exportTo(file, options, terminal);
    });
}

async function exportTo(
  file: string,
  options: ExportOptions,
  terminal: Terminal,
): Promise<void> {
  const { exportState } = await import("../state/export.ts");
  const root = stateRootOf(options);
  const name = options.stateName ?? "default";
  const { withToken = false, withEnv = false } = options;
  const keeper = await keeperOf(root, name);
  const head = await orRefused(
    `The state ${name} cannot be exported`,
    exportState({ root, name, file, version: VERSION, withToken, withEnv }),
  );
  const { sessions, bytes } = head;
  if (options.json === true) {
    await terminal.json({ file, name, sessions, bytes });
    return;
  }
  const { err } = terminal;
  await err.line(
    `Wrote ${describe(sessions, bytes)} to ${file}. It holds code and outputs${withToken ? ", and the token" : ""}: keep it private`,
  );
  if (keeper !== undefined) {
    await err.line(
      `A keeper of this state runs here (process ${keeper}). Its kernels stay here, and what they have said since the last server ended is not in the file`,
    );
  }
}

/** The process id of the state's keeper, if it runs. */
async function keeperOf(
  root: string,
  name: string,
): Promise<number | undefined> {
  const { keeperFileIn, mayRun, readKeeperFile } =
    await import("../keeper/keeper-file.ts");
  const file = readKeeperFile(keeperFileIn(join(root, name)));
  return file !== undefined && mayRun(file) ? file.pid : undefined;
}

function importCommand({ terminal }: CommandContext): Command {
  const command = new Command("import")
    .summary("Make a state from such a file")
    .description(
      "Make a state from a file of 'kallichore state export'. It appears when all of it is there and checked. Its sessions have no kernels; their histories can be read, and their kernels started anew. A state that exists is not overwritten.",
    )
    .argument("<file>", "The file");
  withState(
    withJson(command, "Print one JSON document"),
    "Name of the new state (default: the name that it had)",
  );
  return command
    .addHelpText(
      "after",
      [
        examples(
          [
            "kallichore state import work.kallichore --state-name work",
            "under another name",
          ],
          ["kallichore serve --keep --state-name work", "go on with it"],
        ),
        "",
        exitHelp(["ok", "refused"]),
      ].join("\n"),
    )
    .action(async (file: string, options: StateOptions) => {
      await importFrom(file, options, terminal);
    });
}

async function importFrom(
  file: string,
  options: StateOptions,
  terminal: Terminal,
): Promise<void> {
  const { importState } = await import("../state/import.ts");
  const { keeperFileIn, movedFile } = await import("../keeper/keeper-file.ts");
  const { writePrivate } = await import("../host/private-file.ts");
  const root = stateRootOf(options);
  const { name, directory, head } = await orRefused(
    `${file} cannot be imported`,
    importState({
      root,
      name: options.stateName,
      file,
      complete: (draft, { host }) =>
        writePrivate(keeperFileIn(draft), movedFile(host)),
    }),
  );
  const { sessions, bytes } = head;
  if (options.json === true) {
    await terminal.json({ name, directory, sessions, bytes });
    return;
  }
  const goOn = serve(root, name);
  await terminal.err.line(
    `Imported ${describe(sessions, bytes)} from ${head.host} as the state ${name}. To go on with them: ${goOn}`,
  );
}

function describe(sessions: number, bytes: number): string {
  return `${sessions} session${sessions === 1 ? "" : "s"} (${size(bytes)})`;
}

/** What fails is not a bug of the program. */
async function orRefused<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    throw new CommandError("refused", `${what}: ${whyOf(cause)}`, { cause });
  }
}
