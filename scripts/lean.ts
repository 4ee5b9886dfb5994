/**
 * Plugins of esbuild that make the programs start faster: the bundle is smaller,
 * and it loads no module of Node that the program does not use.
 */
import { isBuiltin } from "node:module";
import type { Plugin } from "esbuild";

/** Leaves out zod's messages in about fifty languages: the programs use only English, zod's default. */
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
 * Modules for outgoing connections and TLS. Packages import them as a whole, but
 * the programs hardly use them, so they are loaded at their first use.
 */
const LAZY = new Set(["https", "tls"]);

/**
 * Loads Node's own modules with `process.getBuiltinModule`. An ESM import of such a
 * module reads all its exports: for `http` that loads a web client, for `crypto` a
 * second cryptography. And the `require` calls of CommonJS packages would need a
 * `require` function, which pages do not have.
 */
const builtins = (kinds: readonly string[]): Plugin => ({
  name: "builtin modules",
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path, kind }) => {
      if (!isBuiltin(path) || !kinds.includes(kind)) return undefined;
      const name = path.replace(/^node:/, "");
      const isNamed = kind === "import-statement" && !LAZY.has(name);
      return { path: name, namespace: isNamed ? "builtin-names" : "builtin" };
    });
    build.onLoad({ filter: /./, namespace: "builtin" }, ({ path }) => {
      const module = builtinModule(path);
      return {
        contents: LAZY.has(path)
          ? `module.exports = new Proxy({}, { get: (_, name) => ${module}[name] });`
          : `module.exports = ${module};`,
      };
    });
    build.onLoad({ filter: /./, namespace: "builtin-names" }, ({ path }) => ({
      contents: namedExports(path),
    }));
  },
});

function builtinModule(path: string): string {
  return `process.getBuiltinModule(${JSON.stringify(`node:${path}`)})`;
}

/**
 * The module for imports by name. The bundler leaves out a name that no file
 * imports, so that its export is never read. A name that the Node of the build does
 * not have is available only through the default import.
 */
function namedExports(path: string): string {
  const names = Object.keys(process.getBuiltinModule(path) ?? {});
  return [
    `const builtin = ${builtinModule(path)};`,
    `export default builtin;`,
    ...names
      .filter((name) => name !== "default")
      .map(
        (name) =>
          `export const ${name} = /* @__PURE__ */ (() => builtin.${name})();`,
      ),
  ].join("\n");
}

/** Only for the `require` calls of CommonJS packages. */
export const requiredBuiltins = builtins(["require-call"]);

export const lean: readonly Plugin[] = [
  locales,
  builtins(["require-call", "import-statement"]),
];
