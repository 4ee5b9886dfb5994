/** The command as it is shipped, bundled in the same way, once for each test file that runs it. */
import { fileURLToPath } from "node:url";
import { build } from "tsup";
import config from "../../tsup.config.ts";

const root = new URL("../../", import.meta.url);

/** Resolves with the path of the program. */
export async function buildCommand(name: "kcserver"): Promise<string> {
  const commands = [config]
    .flat()
    .find((one) => typeof one === "object" && one.name === "commands");
  if (commands === undefined || typeof commands !== "object") {
    throw new Error("tsup.config.ts makes no commands");
  }
  // Within the package, where the program finds its own version.
  const outDir = fileURLToPath(new URL(`dist/test-${process.pid}`, root));
  await build({
    ...commands,
    config: false,
    silent: true,
    clean: false,
    entry: { [name]: fileURLToPath(new URL(`src/bin/${name}.ts`, root)) },
    outDir,
  });
  return `${outDir}/${name}.js`;
}
