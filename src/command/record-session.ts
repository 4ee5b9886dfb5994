/** `kallichore record`: writes the messages of a session as lines that the test kit can replay. */
import { readFileSync } from "node:fs";
import { Command } from "commander";
import type { SessionEvent } from "../../client/index.ts";
import { record } from "../../testing/record.ts";
import { type CommandContext, examples, withServer } from "./context.ts";
import { Ending, watchConnection } from "./ending.ts";
import { CommandError, type ExitCode, exitHelp } from "./exit.ts";
import { openServer, type ServerChoice } from "./find-server.ts";
import { findSession } from "./names.ts";
import type { Terminal } from "./terminal.ts";
import { until } from "./until.ts";
import { whyOf } from "./why.ts";

interface RecordSessionOptions extends ServerChoice {
  readonly follow?: boolean;
  readonly secrets?: string;
}

export function recordSessionCommand(context: CommandContext): Command {
  const command = new Command("record")
    .summary("Record a session's messages, for a test")
    .description(
      "Write the messages of the session's kernel, one JSON object a line, for the test kit to replay (see docs/testing.md). Keys, user names, answers to prompts and process output are left out. The output of code stays: check the file before you share it.",
    )
    .argument(
      "<session>",
      "Id of the session, or an unambiguous beginning of it",
    )
    .option(
      "-f, --follow",
      "Continue with new messages, until Ctrl-C or until the session is deleted",
    )
    .option(
      "--secrets <file>",
      "File with words to replace in the recording, one a line",
    );
  withServer(command);
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore record work > bug.ndjson", "record all messages so far"],
          [
            "kallichore record work --secrets secrets.txt > bug.ndjson",
            "replace secret words",
          ],
        ),
        "",
        exitHelp(["ok", "refused", "usage"]),
      ].join("\n"),
    )
    .action(async (name: string, options: RecordSessionOptions) => {
      context.finish(await recordSession(name, options, context.terminal));
    });
}

async function recordSession(
  name: string,
  options: RecordSessionOptions,
  terminal: Terminal,
): Promise<ExitCode> {
  const secrets = readSecrets(options.secrets);
  using ending = new Ending(terminal.gone);
  await using server = await openServer(options);
  using _watch = watchConnection(server.client, ending, terminal.err);
  const { signal } = ending;
  const found = await findSession(server.client, name);
  const { session_id, kernel_info, last_seq } = found;
  const follow = options.follow === true;
  if (last_seq === 0 && !follow) return "ok";
  const events = server.client.session(session_id).events({ after: 0, signal });
  const kept = upTo(follow ? Infinity : last_seq, until(events, signal));
  for await (const line of record(warnOfGaps(kept, terminal), {
    kernel_info,
    secrets,
  })) {
    await terminal.out.line(line);
  }
  return ending.exit ?? "ok";
}

async function* upTo(
  last: number,
  events: AsyncIterable<SessionEvent>,
): AsyncGenerator<SessionEvent, void> {
  for await (const event of events) {
    yield event;
    if (event.seq >= last) return;
  }
}

/** Warns of messages that the session no longer keeps, because they are missing in the recording. */
async function* warnOfGaps(
  events: AsyncIterable<SessionEvent>,
  { err }: Terminal,
): AsyncGenerator<SessionEvent, void> {
  for await (const event of events) {
    if (event.kind === "gap") {
      await err.line(
        `The session no longer keeps the messages ${event.from} to ${event.to}; they are missing in the recording`,
      );
    }
    yield event;
  }
}

/** Reads one secret word a line. Throws `usage`. */
function readSecrets(path: string | undefined): string[] {
  const { KALLICHORE_TOKEN: token = "" } = process.env;
  if (path === undefined) return [token];
  try {
    const lines = readFileSync(path, "utf8").split(/\r?\n/);
    return [token, ...lines];
  } catch (cause) {
    const why = whyOf(cause);
    throw new CommandError("usage", `${path} cannot be read: ${why}`, {
      cause,
    });
  }
}
