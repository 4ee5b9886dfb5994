/** `kallichore sessions prune`: deletes sessions whose kernels have ended. */
import { Command, Option } from "commander";
import type { ActiveSession, Client } from "../../client/index.ts";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  withJson,
  withServer,
} from "./context.ts";
import { exitHelp, type ExitCode } from "./exit.ts";
import { openServer } from "./find-server.ts";
import { duration } from "./duration.ts";
import { type LabelOption, withLabels } from "./labels.ts";
import { describeError } from "./report.ts";
import { span, table } from "./table.ts";
import type { Terminal } from "./terminal.ts";

export function sessionsCommand(context: CommandContext): Command {
  return new Command("sessions")
    .helpCommand(false)
    .summary("Delete sessions whose kernels have ended")
    .description(
      "Commands for many sessions at a time. 'kallichore ps' lists them.",
    )
    .addCommand(pruneCommand(context));
}

interface PruneOptions extends CommonOptions, LabelOption {
  readonly olderThan?: number;
  readonly dryRun?: boolean;
}

function pruneCommand(context: CommandContext): Command {
  const command = new Command("prune")
    .summary("Delete sessions whose kernels have ended")
    .description(
      "Delete sessions whose kernels have ended, with their recorded messages. Sessions that have a kernel, that were never started, or to which a client is attached, are not deleted.",
    )
    .addOption(
      new Option(
        "--older-than <time>",
        "Delete only sessions that nobody has used since then: whose kernels have ended, and whose last client has left; such as 7d, 12h, 30m",
      ).argParser(duration(0, 3650)),
    )
    .option("--dry-run", "Print what would be deleted, and delete nothing");
  withLabels(command, "Delete only sessions with this label");
  withServer(withJson(command, "Print one JSON document"));
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore sessions prune --dry-run", "what would be deleted"],
          [
            "kallichore sessions prune --older-than 7d",
            "what nobody has used for a week",
          ],
          [
            "kallichore sessions prune --label team=stats",
            "the ended sessions with a label",
          ],
        ),
        "",
        exitHelp(["ok", "refused"]),
      ].join("\n"),
    )
    .action(async (options: PruneOptions) => {
      context.finish(await prune(options, context.terminal));
    });
}

async function prune(
  options: PruneOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  await using server = await openServer(options);
  const { client } = server;
  const olderThan = (options.olderThan ?? 0) * 1_000;
  const found = await client.sessions.list({ labels: options.label });
  const now = Date.now();
  const ended = found.filter(
    (session) =>
      session.status === "exited" && idleTime(session, now) >= olderThan,
  );
  const isAttached = ({ ended: at, detached }: ActiveSession) =>
    at !== undefined && detached === undefined;
  const attached = ended.filter(isAttached).map(({ session_id: id }) => id);
  const chosen = ended.filter((session) => !isAttached(session));
  const isDry = options.dryRun === true;
  const { sessions, failures } = isDry
    ? { sessions: chosen.map(({ session_id }) => session_id), failures: [] }
    : await remove(chosen, client, options, terminal);
  if (options.json === true) {
    await terminal.json({ sessions, attached, failures });
  } else {
    for (const id of attached) {
      await terminal.err.line(`${id} stays: a client is attached to it`);
    }
    if (chosen.length === 0) await terminal.err.line("Nothing to delete");
    else if (isDry) await show(chosen, now, terminal);
  }
  return failures.length === 0 ? "ok" : "refused";
}

interface Failure {
  readonly name: string;
  readonly message: string;
}

/** One after the other. It continues after a failure. */
async function remove(
  chosen: readonly ActiveSession[],
  client: Client,
  { json }: PruneOptions,
  { err }: Terminal,
): Promise<{ sessions: string[]; failures: Failure[] }> {
  const sessions: string[] = [];
  const failures: Failure[] = [];
  for (const { session_id: id } of chosen) {
    try {
      await client.session(id).delete(); // refused if it has a kernel by now
      sessions.push(id);
      if (json !== true) await err.line(`Deleted ${id}`);
    } catch (error) {
      const { message } = describeError(error);
      failures.push({ name: id, message });
      if (json === true) continue;
      await err.line(`${err.colors.red("kallichore:")} ${message}`);
    }
  }
  return { sessions, failures };
}

async function show(
  chosen: readonly ActiveSession[],
  now: number,
  { out }: Terminal,
): Promise<void> {
  const rows = chosen.map((session) => [
    session.session_id,
    session.kernel_name ?? session.display_name,
    `${span(idleTime(session, now))} ago`,
  ]);
  await out.line(table(["SESSION", "KERNEL", "LAST USED"], rows, out.colors));
}

/** Milliseconds since the kernel has ended and the last client has left; 0 if the server does not say it. */
function idleTime({ ended, detached }: ActiveSession, now: number): number {
  const times = [ended, detached ?? ended].map((at) =>
    at === undefined ? now : Date.parse(at),
  );
  return Math.max(now - Math.max(...times), 0);
}
