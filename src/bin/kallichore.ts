#!/usr/bin/env node
import "./compiled.ts";

const { surviveHangup } = await import("../command/terminal-streams.ts");
surviveHangup();
const { run } = await import("../command/program.ts");
process.exit(await run(process.argv.slice(2)));
