/** `kallichore keeper`: the program of a keeper, which a server starts. It is not for people, so the help does not list it. */
import { join } from "node:path";
import { Command } from "commander";
import type { CommandContext } from "./context.ts";
import {
  type StateRootOption,
  stateRootOf,
  withState,
} from "./doctor/doctor.ts";
import { CommandError, exitHelp } from "./exit.ts";

export function keeperCommand(context: CommandContext): Command {
  return new Command("keeper")
    .summary("Hold kernels for a server (a server starts it)")
    .description(
      "Hold kernels for a server that may go and come back. A server starts it, and gives its options on standard input.",
    )
    .action(async () => {
      const { runKeeper } = await import("../keeper/main.ts");
      if ((await runKeeper()) !== 0) context.finish("usage");
    })
    .addCommand(attachCommand());
}

interface AttachOptions extends StateRootOption {
  readonly stateName?: string;
}

function attachCommand(): Command {
  const command = new Command("attach")
    .summary("Carry a keeper's stream over standard input and output")
    .description(
      "Carry the stream of a keeper on this machine over standard input and output, for a server that reaches this machine by ssh, docker exec or another program that hands over stdio. It prints nothing else on standard output, ends when either end does, and holds no secret: the server attaches with its own.",
    )
    .argument(
      "[directory]",
      "The directory that holds keeper.json (default: the state that the options name)",
    );
  return withState(command)
    .addHelpText("after", `\n${exitHelp(["ok", "refused"])}`)
    .action(async (directory: string | undefined, options: AttachOptions) => {
      const { attachKeeper } = await import("../keeper/attach.ts");
      const { stateName = "default" } = options;
      try {
        await attachKeeper(directory ?? join(stateRootOf(options), stateName));
      } catch (error) {
        throw new CommandError("refused", (error as Error).message);
      }
    });
}
