/** The programs of a keeper and of a server that attaches to it. */
import { join } from "node:path";
import { bundled } from "../bundled.ts";

let folder: string | undefined;

export function programOf(name: "keeper" | "attaching"): string {
  folder ??= bundled(
    "kallichore-test-keepers",
    { keeper: "src/bin/keeper.ts", attaching: "test/keeper/attaching.ts" },
    {
      external: ["koffi", "zeromq"],
      banner: {
        js: 'import { createRequire as made } from "node:module"; const require = made(import.meta.url);',
      },
    },
  );
  return join(folder, `${name}.js`);
}
