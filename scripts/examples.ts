/**
 * Runs the examples as a reader would: `npm ci` and `npm test` in the folder of
 * each. Each example installs the packed package, so build the package first.
 *
 *     tsx scripts/examples.ts [NAME…]    default: all examples
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../examples/", import.meta.url));
const TIMEOUT_MS = 5 * 60_000; // of one command

const all = readdirSync(folder).filter((name) =>
  existsSync(`${folder}${name}/package.json`),
);
const names = process.argv.slice(2);
const failed = (names.length > 0 ? names : all).filter((name) => !passes(name));
if (failed.length > 0) {
  console.error(`These examples failed: ${failed.join(", ")}`);
  process.exitCode = 1;
}

function passes(name: string): boolean {
  console.log(`\n== examples/${name}`);
  return (
    npm(name, "ci", "--prefer-offline") &&
    npm(name, "run", "--if-present", "check") &&
    npm(name, "test")
  );
}

function npm(name: string, ...args: readonly string[]): boolean {
  const { status } = spawnSync("npm", args, {
    cwd: folder + name,
    stdio: "inherit",
    shell: process.platform === "win32",
    timeout: TIMEOUT_MS,
  });
  return status === 0;
}
