/**
 * Makes kcserver as one executable file, Node included:
 *
 *   npm run exe -- [--platform win-x64] [--out DIR]
 *
 * The program is bundled, made into a blob by the version of Node that it will
 * run in, and put into that Node's executable.
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
  console.error(`--platform is one of ${known}`);
  process.exitCode = 2;
} else {
  const path = await makeExecutable(values.platform, values.out);
  const { size } = await stat(path);
  console.log(`${path} (${(size / 1e6).toFixed(1)} MB)`);
}
