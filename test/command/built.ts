/** Bundles the command as it is shipped, once for each test file that runs it. */
import { fileURLToPath } from "node:url";
import { build } from "tsup";
import config from "../../tsup.config.ts";

const root = new URL("../../", import.meta.url);

/** Resolves with the path of the program. */
export async function buildCommand(
  name: "kcserver" | "kallichore",
): Promise<string> {
  const source = `src/bin/${name}.ts`;
  const programs = [config]
    .flat()
    .filter((one) => typeof one === "object")
    .find(({ entry = {} }) => Object.values(entry).includes(source));
  if (programs === undefined) throw new Error(`no ${source} in tsup.config.ts`);
  // In the package, so that the program finds its own version.
  const outDir = fileURLToPath(new URL(`dist/test-${process.pid}`, root));
  await build({
    ...programs,
    config: false,
    silent: true,
    clean: false,
    entry: {
      [name]: fileURLToPath(new URL(source, root)),
      keeper: fileURLToPath(new URL("src/bin/keeper.ts", root)),
    },
    outDir,
  });
  return `${outDir}/${name}.js`;
}
