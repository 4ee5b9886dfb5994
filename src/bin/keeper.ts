#!/usr/bin/env node
/** The program of a keeper: as small as can be, because it runs for as long as its kernels. */
import "./compiled.ts";

process.title = "kallichore-keeper";
const { runKeeper } = await import("../keeper/main.ts");
process.exit(await runKeeper());
