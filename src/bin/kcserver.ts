#!/usr/bin/env node
/** Kallichore's command, by Kallichore's name: Positron asks for it in /proc/<pid>/comm. */
import { run } from "../command/kcserver/run.ts";

process.title = "kcserver";
process.exit(await run(process.argv.slice(2)));
