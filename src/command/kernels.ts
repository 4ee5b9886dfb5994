/** `kallichore kernels`: lists the kernels that can be started. */
import { Command } from "commander";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  withJson,
  withServer,
} from "./context.ts";
import { exitHelp, type ExitCode } from "./exit.ts";
import { startEmbedded, findServer } from "./find-server.ts";
import { withProgress } from "./spinner.ts";
import { table } from "./table.ts";
import type { Terminal } from "./terminal.ts";

export function kernelsCommand(context: CommandContext): Command {
  const command = new Command("kernels")
    .summary("List the kernels that can be started")
    .description(
      "List the kernels that can be started. The default is marked with *; for a kernel that cannot be started, the list says why. The running server searches all of Jupyter's directories; if no server runs, this command does.",
    );
  withServer(withJson(command, "Print one JSON document"));
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore kernels", "list all kernels"],
          [
            "kallichore kernels --json | jq -r .default",
            "print the name of the default",
          ],
          [
            "kallichore exec -k ir 'R.version.string'",
            "run code on one of them",
          ],
        ),
        "",
        exitHelp(["ok", "refused"]),
      ].join("\n"),
    )
    .action(async (options: CommonOptions) => {
      context.finish(await kernels(options, context.terminal));
    });
}

async function kernels(
  options: CommonOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const { out, err } = terminal;
  await using server = (await findServer(options)) ?? (await startEmbedded());
  const found = await withProgress(
    err,
    "Looking for kernels",
    server.client.kernelspecs(),
  );
  if (options.json === true) {
    await terminal.json(found);
    return "ok";
  }
  const rows = found.kernelspecs.map(
    ({ name, language, display_name, resource_dir }) => [
      name === found.default ? `${name} *` : name,
      language,
      display_name,
      resource_dir,
    ],
  );
  if (rows.length === 0) {
    await err.line(
      "No kernels were found. For Python: pip install ipykernel && python -m ipykernel install --user",
    );
  } else {
    const head = ["NAME", "LANGUAGE", "DISPLAY NAME", "DIRECTORY"];
    await out.line(table(head, rows, out.colors));
  }
  for (const { path, message } of found.problems) {
    await err.line(`${err.colors.yellow("!")} ${path}: ${message}`);
  }
  return "ok";
}
