/** `kallichore adopt`: a session for a kernel that another program started. */
import { randomBytes } from "node:crypto";
import { Command } from "commander";
import {
  type CommonOptions,
  type CommandContext,
  examples,
  withJson,
  withServer,
} from "./context.ts";
import { exitHelp, type ExitCode } from "./exit.ts";
import { openServer } from "./find-server.ts";
import { withProgress } from "./spinner.ts";
import type { Terminal } from "./terminal.ts";

interface AdoptOptions extends CommonOptions {
  readonly id?: string;
}

export function adoptCommand(context: CommandContext): Command {
  const command = new Command("adopt")
    .summary("Make a session of a kernel that another program started")
    .description(
      "Connect the running server to a kernel that another program of yours started, such as 'jupyter console', and print the id of its new session. 'kallichore ps --external' lists such kernels.",
    )
    .argument(
      "<kernel>",
      "Id of the kernel, or the name of its connection file in Jupyter's runtime directory",
    )
    .option("--id <id>", "Id of the session (default: a random id)");
  withServer(withJson(command, "Print the session as one JSON document"));
  return command
    .addHelpText(
      "after",
      [
        examples(
          ["kallichore ps --external", "list the kernels"],
          ["kallichore adopt 4711 --id mine", "adopt kernel-4711.json"],
          ["kallichore attach mine", "open a prompt on it"],
        ),
        "",
        exitHelp(["ok", "refused"]),
      ].join("\n"),
    )
    .action(async (kernel: string, options: AdoptOptions) => {
      context.finish(await adopt(kernel, options, context.terminal));
    });
}

async function adopt(
  connection_file: string,
  { id, json, ...choice }: AdoptOptions,
  { err, out, ...terminal }: Terminal,
): Promise<ExitCode> {
  await using server = await openServer(choice);
  const { client } = server;
  const { sessions } = client.trpc;
  const session_id = id ?? `adopted-${randomBytes(4).toString("hex")}`;
  await sessions.create.mutate({
    session_id,
    argv: [],
    display_name: connection_file,
    language: "",
    username: "",
    input_prompt: "",
    continuation_prompt: "",
    working_directory: "",
    env: [],
    interrupt_mode: "message", // its process is not the server's to signal
  });
  try {
    const adopted = sessions.adopt.mutate({ session_id, connection_file });
    await withProgress(err, `Adopting ${connection_file}`, adopted);
  } catch (error) {
    await sessions.delete.mutate({ session_id }).catch(() => {}); // the first failure is reported
    throw error;
  }
  if (json === true)
    await terminal.json(await client.session(session_id).info());
  else await out.line(session_id);
  return "ok";
}
