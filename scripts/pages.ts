/** A plugin of esbuild for bundles for browsers: it replaces the client's Node features. */
import { fileURLToPath } from "node:url";
import type { Plugin } from "esbuild";

const page = fileURLToPath(new URL("../client/page.ts", import.meta.url));

export const forPages: Plugin = {
  name: "replacements of Node features in pages",
  setup(build) {
    build.onResolve({ filter: /^\.\/host\.ts$/ }, ({ importer }) =>
      /[\\/]client[\\/][^\\/]+$/.test(importer) ? { path: page } : undefined,
    );
  },
};
