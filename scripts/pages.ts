/** How the client is bundled for browsers: without what only Node has. For esbuild. */
import { fileURLToPath } from "node:url";
import type { Plugin } from "esbuild";

const page = fileURLToPath(new URL("../client/page.ts", import.meta.url));

export const forPages: Plugin = {
  name: "what a page has in the place of Node",
  setup(build) {
    build.onResolve({ filter: /^\.\/host\.ts$/ }, ({ importer }) =>
      /[\\/]client[\\/][^\\/]+$/.test(importer) ? { path: page } : undefined,
    );
  },
};
