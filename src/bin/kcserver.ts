#!/usr/bin/env node
/** Kallichore's command, by Kallichore's name: Positron asks for it in /proc/<pid>/comm. */
import "./compiled.ts";

process.title = "kcserver";
const { surviveHangup } = await import("../command/terminal-streams.ts");
surviveHangup();
const { run } = await import("../command/kcserver/run.ts");
process.exit(await run(process.argv.slice(2)));
