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

/**
 * Only asked for by what we do not do: dialling, and TLS. Loaded when first
 * used, by packages that hold them as a whole.
 */
const SELDOM = new Set(["https", "tls"]);

/**
 * Node's own modules, taken as they are. An ESM import of one asks it for all
 * it has, and so loads a client for the web with `http` and a second
 * cryptography with `crypto`; and what packages of CommonJS require would need
 * a `require`, which is nothing for what pages load too.
 */
const builtins = (kinds: readonly string[]): Plugin => ({
  name: "builtins as they are",
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path, kind }) => {
      if (!isBuiltin(path) || !kinds.includes(kind)) return undefined;
      const name = path.replace(/^node:/, "");
      const isNamed = kind === "import-statement" && !SELDOM.has(name);
      return { path: name, namespace: isNamed ? "builtin-names" : "builtin" };
    });
    build.onLoad({ filter: /./, namespace: "builtin" }, ({ path }) => {
      const module = nodes(path);
      return {
        contents: SELDOM.has(path)
          ? `module.exports = new Proxy({}, { get: (_, name) => ${module}[name] });`
          : `module.exports = ${module};`,
      };
    });
    build.onLoad({ filter: /./, namespace: "builtin-names" }, ({ path }) => ({
      contents: named(path),
    }));
  },
});

function nodes(path: string): string {
  return `process.getBuiltinModule(${JSON.stringify(`node:${path}`)})`;
}

/**
 * For imports by name: a name that nobody imports is left out, and so not asked
 * for. What this Node does not have can be had of the default import alone.
 */
function named(path: string): string {
  const names = Object.keys(process.getBuiltinModule(path) ?? {});
  return [
    `const builtin = ${nodes(path)};`,
    `export default builtin;`,
    ...names
      .filter((name) => name !== "default")
      .map(
        (name) =>
          `export const ${name} = /* @__PURE__ */ (() => builtin.${name})();`,
      ),
  ].join("\n");
}

/** Of packages of CommonJS alone. */
export const requiredBuiltins = builtins(["require-call"]);

export const lean: readonly Plugin[] = [
  locales,
  builtins(["require-call", "import-statement"]),
];
