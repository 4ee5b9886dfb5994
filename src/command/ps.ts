/** `kallichore ps` and `kallichore servers`: list sessions and servers. */
import { Command } from "commander";
import type { ActiveSession } from "../../client/index.ts";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  type JsonOption,
  withJson,
  withServer,
} from "./context.ts";
import { exitHelp, type ExitCode } from "./exit.ts";
import { openServer } from "./find-server.ts";
import { type LabelOption, withLabels } from "./labels.ts";
import { readRecords } from "./record.ts";
import { size, span, table } from "./table.ts";
import type { Terminal } from "./terminal.ts";

export function psCommand(context: CommandContext): Command {
  const command = new Command("ps")
    .summary("List sessions and their kernels")
    .description(
      "List the sessions of a server, in the order of their creation. If some outlive the server, KEPT shows the process that holds the kernel, and CLIENT when a client was last attached.",
    );
  withServer(withJson(command, "Print one JSON document"));
  withLabels(command, "List only sessions with this label");
  return command
    .option(
      "--external",
      "List instead the kernels of other programs, which 'kallichore adopt' makes sessions of",
    )
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore ps", "list all sessions"],
          [
            "kallichore ps --label team=stats",
            "list the sessions with a label",
          ],
          [
            "kallichore ps --json | jq -r '.sessions[].session_id'",
            "print only the ids",
          ],
        ),
        "",
        exitHelp(["ok", "refused"]),
      ].join("\n"),
    )
    .action(async (options: PsOptions) => {
      const list = options.external === true ? external : ps;
      context.finish(await list(options, context.terminal));
    });
}

type PsOptions = CommonOptions & LabelOption & { readonly external?: boolean };

async function ps(options: PsOptions, terminal: Terminal): Promise<ExitCode> {
  const { out, err } = terminal;
  await using server = await openServer(options);
  const sessions = await server.client.sessions.list({
    labels: options.label,
  });
  if (options.json === true) {
    await terminal.json({ total: sessions.length, sessions });
    return "ok";
  }
  if (sessions.length === 0) {
    await err.line(
      options.label === undefined
        ? "No sessions. To start one: kallichore start python3"
        : "No sessions with this label",
    );
    return "ok";
  }
  const head = [
    "SESSION",
    "KERNEL",
    "STATUS",
    "PID",
    "CPU",
    "MEMORY",
    "STARTED",
  ];
  const now = Date.now();
  const rows = sessions.map((session) => rowOf(session, now));
  if (sessions.some(({ keep }) => keep)) {
    head.push("KEPT", "CLIENT");
    for (const [index, session] of sessions.entries()) {
      rows[index]?.push(keptText(session), clientText(session, now));
    }
  }
  if (sessions.some(({ labels }) => Object.keys(labels).length > 0)) {
    head.push("LABELS");
    for (const [index, { labels }] of sessions.entries()) {
      rows[index]?.push(labelText(labels));
    }
  }
  await out.line(table(head, rows, out.colors));
  return "ok";
}

/** The kernels of other programs. */
async function external(
  options: PsOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const { out, err } = terminal;
  await using server = await openServer(options);
  const found = await server.client.trpc.external_kernels.list.query();
  if (options.json === true) {
    await terminal.json(found);
    return "ok";
  }
  const { directory, kernels } = found;
  if (directory === null) {
    await err.line("The server does not use Jupyter's runtime directory");
  } else if (kernels.length === 0) {
    await err.line(`No kernels of other programs in ${directory}`);
  } else {
    const now = Date.now();
    const rows = kernels.map(({ kernel_id, kernel_name, modified }) => [
      kernel_id,
      kernel_name === "" ? "-" : kernel_name,
      `${span(now - Date.parse(modified))} ago`,
    ]);
    await out.line(table(["KERNEL ID", "KERNEL", "STARTED"], rows, out.colors));
  }
  return "ok";
}

/** Which process holds the kernel of a session that outlives the server. */
function keptText({ keep, keeper_process_id: pid }: ActiveSession): string {
  if (!keep) return "-";
  return pid === undefined ? "yes" : `keeper ${pid}`;
}

/** When a client was last attached. */
function clientText({ detached }: ActiveSession, now: number): string {
  return detached === undefined
    ? "attached"
    : `${span(now - Date.parse(detached))} ago`;
}

function labelText(labels: ActiveSession["labels"]): string {
  const pairs = Object.entries(labels).map(([key, value]) => `${key}=${value}`);
  return pairs.length === 0 ? "-" : pairs.join(" ");
}

function rowOf(session: ActiveSession, now: number): string[] {
  const { session_id, kernel_name, display_name, status } = session;
  const { process_id, resource_usage: usage, started } = session;
  return [
    session_id,
    kernel_name ?? display_name,
    status,
    process_id === undefined ? "-" : String(process_id),
    usage === undefined ? "-" : `${usage.cpu_percent} %`,
    usage === undefined ? "-" : size(usage.memory_bytes),
    `${span(now - Date.parse(started))} ago`,
  ];
}

export function serversCommand(context: CommandContext): Command {
  const command = new Command("servers")
    .summary("List your running servers")
    .description(
      "List your running servers on this machine. The other commands use the first one, unless --server names another.",
    );
  return withJson(command, "Print one JSON document, without the tokens")
    .addHelpText("after", `\n${exitHelp(["ok"])}`)
    .action(async ({ json }: JsonOption) => {
      context.finish(await servers(json === true, context.terminal));
    });
}

async function servers(json: boolean, terminal: Terminal): Promise<ExitCode> {
  const { out, err } = terminal;
  const records = readRecords();
  if (json) {
    await terminal.json({
      servers: records.map(({ pid, url, socket, server_id, started }) => ({
        pid,
        url,
        socket,
        server_id,
        started,
      })),
    });
  } else if (records.length === 0) {
    await err.line("No servers. To start one: kallichore serve");
  } else {
    const now = Date.now();
    const rows = records.map(({ pid, url, socket, started }) => [
      String(pid),
      url ?? socket ?? "-",
      `${span(now - Date.parse(started))} ago`,
    ]);
    await out.line(table(["PID", "ADDRESS", "STARTED"], rows, out.colors));
  }
  return "ok";
}
