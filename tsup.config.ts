import { copyFileSync, cpSync, mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { defineConfig, type Options } from "tsup";
import { lean, requiredBuiltins } from "./scripts/lean.ts";
import { forPages } from "./scripts/pages.ts";
import { webBuild } from "./testing/web/build.ts";

/** Native addons and optional packages are loaded when they are needed, or not at all. */
const external = ["koffi", "zeromq", "pyodide", "typescript"];

/** Packages that are in our files: whoever installs ours need not install them. */
const BUNDLED = [/^@trpc\//, ...["cross-spawn", "pidusage", "pino", "ws"]];

/** ESM bundles of CommonJS packages need a `require`; the long name cannot collide. */
const banner = {
  js: 'import { createRequire as createRequireForBundledPackages } from "node:module"; const require = createRequireForBundledPackages(import.meta.url);',
};

/** The types say `AsyncDisposable`, which new projects do not have in their `lib`. */
const DISPOSABLE = '/// <reference lib="esnext.disposable" />';

/**
 * tRPC's types stand in ours, and need no package. Copied, because what lies in
 * `node_modules` is left where it is; returned is where each module is then.
 */
function trpcTypes(): Record<string, string[]> {
  const paths: Record<string, string[]> = {};
  for (const name of ["client", "server"]) {
    const folder = fileURLToPath(new URL(`.types/${name}`, import.meta.url));
    cpSync(`node_modules/@trpc/${name}/dist`, folder, {
      recursive: true,
      filter: (path) => !/\.(js|cjs|mjs|map|cts)$/.test(path),
    });
    paths[`@trpc/${name}`] = [`${folder}/index.d.mts`];
    paths[`@trpc/${name}/*`] = [`${folder}/*.d.mts`, `${folder}/*/index.d.mts`];
  }
  return paths;
}

/** The API page is served from files that lie beside the program: no request leaves the machine. */
function copyDocs(): Promise<void> {
  mkdirSync("dist/docs", { recursive: true });
  copyFileSync("contract/openapi.json", "dist/openapi.json");
  for (const name of [
    "swagger-ui-bundle.js",
    "swagger-ui-bundle.js.LICENSE.txt",
    "swagger-ui.css",
    "LICENSE",
    "NOTICE",
  ]) {
    copyFileSync(`node_modules/swagger-ui-dist/${name}`, `dist/docs/${name}`);
  }
  return Promise.resolve();
}

/** What the programs have in common. */
const program: Options = {
  removeNodeProtocol: false, // or it takes them before our own plugin does
  format: "esm",
  target: "node20",
  noExternal: [/^(?!(koffi|zeromq|pyodide|typescript)(\/|$))/],
  external,
  banner,
  esbuildPlugins: [...lean],
  // Names stay, so that a stack says where; lines are short enough to be shown.
  esbuildOptions(options) {
    options.minifyWhitespace = true;
    options.minifySyntax = true;
    options.lineLimit = 160;
  },
  // Optional speed-ups of ws that are not installed: the bundle need not look for them.
  define: {
    "process.env.WS_NO_BUFFER_UTIL": '"1"',
    "process.env.WS_NO_UTF_8_VALIDATE": '"1"',
  },
};

export default defineConfig([
  {
    name: "library",
    entry: {
      server: "src/index.ts",
      client: "client/index.ts",
      contract: "contract/index.ts",
      testing: "testing/index.ts",
      "testing-matchers": "testing/matchers.ts",
      "kernels/mock": "testing/runner.ts",
    },
    format: "esm",
    target: "node20",
    dts: { banner: DISPOSABLE, compilerOptions: { paths: trpcTypes() } },
    noExternal: BUNDLED,
    external,
    removeNodeProtocol: false, // or it takes them before our own plugin does
    esbuildPlugins: [requiredBuiltins],
    onSuccess: copyDocs,
  },
  {
    name: "client in browsers",
    entry: { "client-browser": "client/index.ts" },
    format: "esm",
    platform: "browser",
    target: "es2022",
    esbuildPlugins: [forPages],
  },
  {
    name: "testing in browsers",
    removeNodeProtocol: false, // the aliases are of the full names
    entry: {
      "testing-browser": "testing/browser.ts",
      "testing-msw": "testing/msw.ts",
    },
    format: "esm",
    platform: "browser",
    target: "es2022",
    dts: { banner: DISPOSABLE, compilerOptions: { paths: trpcTypes() } },
    external: ["msw", "zod"],
    noExternal: [/^@trpc\//, "ws"],
    esbuildOptions(options) {
      options.inject = webBuild.inject;
      options.alias = webBuild.alias;
    },
  },
  {
    name: "programs",
    entry: {
      "bin/kallichore": "src/bin/kallichore.ts",
      "bin/kcserver": "src/bin/kcserver.ts",
      "kernels/python-wasm": "kernels/python-wasm/main.ts",
      "kernels/python-wasm-worker": "kernels/python-wasm/worker.ts",
    },
    loader: { ".py": "text" },
    ...program,
  },
  // By itself: with the others it would share files with them, and load the contract's validation.
  { name: "keeper", entry: { "bin/keeper": "src/bin/keeper.ts" }, ...program },
]);
