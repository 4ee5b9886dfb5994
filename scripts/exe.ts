/**
 * Makes a single executable file of kcserver that includes Node:
 *
 *   npm run exe -- [--platform win-x64] [--out DIR]
 *
 * It bundles the program, lets the target version of Node make a blob of it, and
 * injects the blob into the executable of that Node.
 */
import { stat } from "node:fs/promises";
import { parseArgs } from "node:util";
import { makeExecutable } from "./exe/make.ts";
import { hostPlatform, isPlatform, platforms } from "./exe/platforms.ts";

const { values } = parseArgs({
  options: {
    platform: { type: "string", default: hostPlatform() ?? "" },
    out: { type: "string", default: "dist/exe" },
  },
});

if (!isPlatform(values.platform)) {
  const known = Object.keys(platforms).join(", ");
  console.error(`--platform must be one of ${known}`);
  process.exitCode = 2;
} else {
  const path = await makeExecutable(values.platform, values.out);
  const { size } = await stat(path);
  console.log(`${path} (${(size / 1e6).toFixed(1)} MB)`);
}
