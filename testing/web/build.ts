/** The bundling of the browser entries: the server's own code, with web replacements of Node's modules. */
import { fileURLToPath } from "node:url";

const here = (name: string) =>
  fileURLToPath(new URL(`./${name}`, import.meta.url));

/** Options for esbuild. */
export const webBuild = {
  platform: "browser" as const,
  inject: [here("globals.ts")],
  alias: Object.fromEntries(
    [
      "node:buffer",
      "node:crypto",
      "node:events",
      "node:fs/promises",
      "node:http",
      "node:path",
      "node:zlib",
      "ws",
    ].map((name) => [name, here("modules.ts")]),
  ),
};
