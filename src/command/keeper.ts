/** `kallichore keeper`: the program of a keeper, which a server starts. It is not for people, so the help does not list it. */
import { Command } from "commander";
import type { CommandContext } from "./context.ts";

export function keeperCommand(context: CommandContext): Command {
  return new Command("keeper")
    .summary("Hold kernels for a server (a server starts it)")
    .description(
      "Hold kernels for a server that may go and come back. A server starts it, and gives its options on standard input.",
    )
    .action(async () => {
      const { runKeeper } = await import("../keeper/main.ts");
      if ((await runKeeper()) !== 0) context.finish("usage");
    });
}
