#!/usr/bin/env node
/** The command with Kallichore's own name, which Positron looks for in /proc/<pid>/comm. */
import "./compiled.ts";

const { isExecutable } = await import("../package/files.ts");
const args = process.argv.slice(2);
if (isExecutable && args[0] === "keeper") {
  // The single executable is the program of its keeper, too.
  process.title = "kallichore-keeper";
  const { runKeeper } = await import("../keeper/main.ts");
  process.exit(await runKeeper());
}
process.title = "kcserver";
const { surviveHangup } = await import("../command/terminal-streams.ts");
surviveHangup();
const { run } = await import("../command/kcserver/run.ts");
process.exit(await run(args));
