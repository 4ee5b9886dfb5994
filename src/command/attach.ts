/** `kallichore attach`: a prompt on a session. The session continues when the command ends. */
import { Command } from "commander";
import type { Client } from "../../client/index.ts";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  withJson,
  withServer,
} from "./context.ts";
import { Ending, watchConnection } from "./ending.ts";
import { CommandError, exitHelp, type ExitCode } from "./exit.ts";
import { openServer } from "./find-server.ts";
import { findRunning, findSession } from "./names.ts";
import { savingIn } from "./pictures.ts";
import { Repl } from "./repl.ts";
import { forPeople } from "./show.ts";
import type { Terminal } from "./terminal.ts";
import { until } from "./until.ts";

interface AttachOptions extends CommonOptions {
  readonly saveTo?: string;
}

export function attachCommand(context: CommandContext): Command {
  const command = new Command("attach")
    .summary("Open a prompt on a session")
    .description(
      "Open a prompt on a session: run the code that you type, and show the output, also that of other clients of the session. The session stays when you leave.",
    )
    .argument(
      "<session>",
      "Id of the session, or an unambiguous beginning of it",
    )
    .option(
      "--save-to <dir>",
      "Directory for pictures; no file is overwritten",
    );
  withServer(
    withJson(
      command,
      "Send nothing; print each event of the session as one JSON object a line",
    ),
  );
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore start python3 --id work", "start a session"],
          ["kallichore attach work", "open a prompt on it"],
          ["kallichore attach work --json", "watch it"],
        ),
        "",
        "Keys: Tab completes, Up and Down go through the history, Ctrl-C interrupts the\nrunning code, Ctrl-D leaves. Incomplete code continues on the next line.",
        "",
        exitHelp(["ok", "refused", "usage"]),
      ].join("\n"),
    )
    .action(async (name: string, options: AttachOptions) => {
      context.finish(await attach(name, options, context.terminal));
    });
}

async function attach(
  name: string,
  options: AttachOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  using ending = new Ending(terminal.gone);
  await using server = await openServer(options);
  using _watch = watchConnection(server.client, ending, terminal.err);
  if (options.json === true) {
    return await watch(name, server.client, { ending, terminal });
  }
  if (!process.stdin.isTTY || !terminal.out.isTerminal) {
    throw new CommandError("usage", "The prompt needs a terminal", {
      hint: `To run code in the session: kallichore exec -s ${name} CODE`,
    });
  }
  const found = await findRunning(server.client, name);
  const session = server.client.session(found.session_id);
  await greet(found, terminal);
  const { saveTo } = options;
  const savePicture = saveTo === undefined ? undefined : savingIn(saveTo);
  const { red } = terminal.out.colors;
  const label = (count: number | null) => red(`Out[${count ?? " "}]: `);
  const show = forPeople(terminal, { savePicture, label });
  using repl = await Repl.open(session, { terminal, show, ending });
  await repl.start();
  session.detach();
  return "ok";
}

async function greet(
  {
    session_id,
    display_name,
    kernel_info,
  }: {
    session_id: string;
    display_name: string;
    kernel_info: Record<string, unknown>;
  },
  { out }: Terminal,
): Promise<void> {
  const { banner } = kernel_info;
  const { bold, dim } = out.colors;
  if (typeof banner === "string" && banner !== "") {
    await out.line(dim(banner.split("\n", 1)[0] ?? ""));
  }
  await out.line(
    `${bold(session_id)} (${display_name}). Ctrl-C interrupts, Ctrl-D leaves.`,
  );
}

async function watch(
  name: string,
  client: Client,
  { ending, terminal }: { ending: Ending; terminal: Terminal },
): Promise<ExitCode> {
  const found = await findSession(client, name);
  const { session_id, status, last_seq: after } = found;
  await terminal.json({ kind: "attached", session_id, status, after });
  const { signal } = ending;
  const events = client.session(session_id).events({ after, signal });
  for await (const event of until(events, ending.signal)) {
    const shown =
      "buffers" in event
        ? {
            ...event,
            buffers: event.buffers.map((bytes) =>
              Buffer.from(bytes).toString("base64"),
            ),
          }
        : event;
    await terminal.json(shown);
  }
  return ending.exit ?? "ok";
}
