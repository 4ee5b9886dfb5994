/** The main program of the executable: the same as `src/bin/kcserver.ts` and `src/bin/keeper.ts`, for CommonJS, which a single executable needs. */
import { run } from "../../src/command/kcserver/run.ts";
import { surviveHangup } from "../../src/command/terminal-streams.ts";
import { runKeeper } from "../../src/keeper/main.ts";

const args = process.argv.slice(2);

async function main(): Promise<number> {
  if (args[0] === "keeper") {
    process.title = "kallichore-keeper";
    return runKeeper();
  }
  process.title = "kcserver";
  surviveHangup();
  return run(args);
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
