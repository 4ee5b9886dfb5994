/**
 * Runs the examples as a reader would: `npm ci`, then their tests, each in its
 * folder. Each installs the package as it is packed, so build it before. With
 * names, only those.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";

const folder = fileURLToPath(new URL("../examples/", import.meta.url));
const TIMEOUT_MS = 5 * 60_000; // for one command

const all = readdirSync(folder).filter((name) =>
  existsSync(`${folder}${name}/package.json`),
);
const asked = process.argv.slice(2);
const failed = (asked.length > 0 ? asked : all).filter((name) => !holds(name));
if (failed.length > 0) {
  console.error(`These examples do not hold: ${failed.join(", ")}`);
  process.exitCode = 1;
}

function holds(name: string): boolean {
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
