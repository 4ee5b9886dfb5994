#!/usr/bin/env node
/** The program of a keeper: as small as can be, because it runs for as long as its kernels. */
import "./compiled.ts";

const [, , verb, directory] = process.argv;
if (verb === undefined) {
  process.title = "kallichore-keeper";
  const { runKeeper } = await import("../keeper/main.ts");
  process.exit(await runKeeper());
}
const { attachKeeper } = await import("../keeper/attach.ts");
if (verb !== "attach" || directory === undefined) {
  process.stderr.write("Usage: keeper.js attach DIRECTORY\n");
  process.exit(2);
}
try {
  await attachKeeper(directory);
  process.exit(0);
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`);
  process.exit(1);
}
