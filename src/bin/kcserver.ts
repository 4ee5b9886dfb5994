#!/usr/bin/env node
/** The command with Kallichore's own name, which Positron looks for in /proc/<pid>/comm. */
import "./compiled.ts";

process.title = "kcserver";
const { surviveHangup } = await import("../command/terminal-streams.ts");
surviveHangup();
const { run } = await import("../command/kcserver/run.ts");
process.exit(await run(process.argv.slice(2)));
