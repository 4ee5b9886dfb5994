/** How the browser's entries are bundled: the server's own code, with the web's stand-ins for what it takes from Node. */
import { fileURLToPath } from "node:url";

const here = (name: string) =>
  fileURLToPath(new URL(`./${name}`, import.meta.url));

/** For esbuild. */
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
