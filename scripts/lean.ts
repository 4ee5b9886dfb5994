/**
 * What makes the programs' bundle quick to start: less of it, and no builtin
 * that drags in another which we do not use.
 */
import { isBuiltin } from "node:module";
import type { Plugin } from "esbuild";

/** zod's messages in some fifty languages; ours are said in its default one. */
const locales: Plugin = {
  name: "one locale",
  setup(build) {
    build.onLoad(
      { filter: /[\\/]zod[\\/]v4[\\/]locales[\\/]index\.js$/ },
      () => ({ contents: `export { default as en } from "./en.js";` }),
    );
  },
};

/** Imported, Node asks `http` for all it has, and so loads a whole client for the web. */
const HTTP = ["createServer", "STATUS_CODES"];
const http: Plugin = {
  name: "http without its client",
  setup(build) {
    build.onResolve({ filter: /^(?:node:)?http$/ }, ({ kind }) =>
      kind === "import-statement"
        ? { path: "http", namespace: "builtin" }
        : undefined,
    );
    build.onLoad({ filter: /^http$/, namespace: "builtin" }, () => ({
      contents: `export const { ${HTTP.join()} } = process.getBuiltinModule("node:http");`,
    }));
  },
};

/** What a package of CommonJS requires of Node: an ESM bundle has no `require`, and what pages load too shall not import one. */
export const builtins: Plugin = {
  name: "builtins without require",
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path, kind }) =>
      kind === "require-call" && isBuiltin(path)
        ? { path, namespace: "required builtin" }
        : undefined,
    );
    build.onLoad(
      { filter: /./, namespace: "required builtin" },
      ({ path }) => ({
        contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)});`,
        loader: "js",
      }),
    );
  },
};

export const lean: readonly Plugin[] = [locales, http];
