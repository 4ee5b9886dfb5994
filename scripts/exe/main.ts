/** The main program of the executable: the same as `src/bin/kcserver.ts`, for CommonJS, which a single executable needs. */
import { run } from "../../src/command/kcserver/run.ts";
import { surviveHangup } from "../../src/command/terminal-streams.ts";

process.title = "kcserver";
surviveHangup();
run(process.argv.slice(2)).then(
  (code) => process.exit(code),
  (error: unknown) => {
    console.error(error);
    process.exit(1);
  },
);
