/** Makes one executable file from the sources: bundles them, makes a blob of the bundle, and injects the blob into Node. */
import { execFile } from "node:child_process";
import {
  chmod,
  mkdir,
  mkdtemp,
  readFile,
  rename,
  rm,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { inject } from "postject";
import { fetchPackage } from "./fetch.ts";
import {
  hostPlatform,
  type Platform,
  type PlatformName,
  platforms,
} from "./platforms.ts";
import { unsigned } from "./unsigned.ts";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../..", import.meta.url));
/** The mark in Node's executable that shows whether it contains a blob; from Node's documentation. */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

/** Resolves with the executable's path. */
export async function makeExecutable(
  name: PlatformName,
  out: string,
): Promise<string> {
  const host = hostPlatform();
  if (host === undefined) {
    throw new Error(
      "This platform has no pinned Node, which is needed to make the blob",
    );
  }
  const platform: Platform = platforms[name];
  const work = await mkdtemp(join(tmpdir(), "kallichore-exe-"));
  try {
    const assets = await assetsOf(platform);
    const main = join(work, "kcserver.cjs");
    await bundle(main, platform);
    const blob = join(work, "kcserver.blob");
    const config = join(work, "sea.json");
    await writeFile(
      config,
      JSON.stringify({
        main,
        output: blob,
        assets,
        disableExperimentalSEAWarning: true,
        useCodeCache: host === name, // the compiled code works only on the platform that compiled it
      }),
    );
    const maker = await nodeOf(platforms[host]);
    await run(maker, ["--experimental-sea-config", config]);
    const draft = join(work, platform.executable);
    const bytes = await readFile(await nodeOf(platform));
    await writeFile(draft, name === "win-x64" ? unsigned(bytes) : bytes);
    await inject(draft, "NODE_SEA_BLOB", await readFile(blob), {
      sentinelFuse: FUSE,
    });
    await chmod(draft, 0o755);
    return await replaceFile(draft, resolve(out), platform.executable);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function nodeOf({ node, binary }: Platform): Promise<string> {
  return join(await fetchPackage(node), binary);
}

/** Bundles the program into one CommonJS file, which a single executable needs. Optional packages that do not work there are left out; the program does not find them. */
async function bundle(main: string, { koffi }: Platform): Promise<void> {
  await build({
    entryPoints: [join(root, "scripts/exe/main.ts")],
    outfile: main,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22",
    minify: true,
    keepNames: true, // errors are recognized by their names
    legalComments: "none",
    external: ["zeromq", "pyodide", "typescript", ...(koffi ? [] : ["koffi"])],
    alias: koffi ? { koffi: join(root, "scripts/exe/koffi.ts") } : {},
    loader: { ".py": "text" },
    banner: {
      js: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href;',
    },
    define: {
      "import.meta.url": "importMetaUrl",
      // Optional packages of ws that are not installed: the bundle need not look for them.
      "process.env.WS_NO_BUFFER_UTIL": '"1"',
      "process.env.WS_NO_UTF_8_VALIDATE": '"1"',
    },
    logLevel: "error",
  });
}

/** The files of the assets, by the names by which the program requests them. */
async function assetsOf({
  koffi,
}: Platform): Promise<Readonly<Record<string, string>>> {
  return {
    "package.json": join(root, "package.json"),
    "openapi.json": join(root, "contract/openapi.json"),
    "docs/swagger-ui-bundle.js": swagger("swagger-ui-bundle.js"),
    "docs/swagger-ui.css": swagger("swagger-ui.css"),
    ...(koffi && {
      "koffi.node": join(await fetchPackage(koffi), koffi.addon),
    }),
  };
}

function swagger(name: string): string {
  return join(root, "node_modules/swagger-ui-dist", name);
}

/** Replaces the file instead of writing to it, because it may be running. */
async function replaceFile(
  draft: string,
  folder: string,
  name: string,
): Promise<string> {
  await mkdir(folder, { recursive: true });
  const beside = join(folder, `.${name}.${process.pid}`);
  await writeFile(beside, await readFile(draft), { mode: 0o755 });
  const path = join(folder, name);
  await rename(beside, path);
  return path;
}
