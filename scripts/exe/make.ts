/** From our sources to one executable file: a bundle, a blob, and Node with the blob in it. */
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
/** By which Node knows that there is a blob in it; said by Node's documentation. */
const FUSE = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";

/** Resolves with the executable's path. */
export async function makeExecutable(
  name: PlatformName,
  out: string,
): Promise<string> {
  const host = hostPlatform();
  if (host === undefined) {
    throw new Error("The Node that makes the blob is not to be had here");
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
        useCodeCache: host === name, // compiled code is good for the machine that compiled it
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
    return await put(draft, resolve(out), platform.executable);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function nodeOf({ node, binary }: Platform): Promise<string> {
  return join(await fetchPackage(node), binary);
}

/** One file of CommonJS, which is what a single executable runs; what it cannot have, it does not find. */
async function bundle(main: string, { koffi }: Platform): Promise<void> {
  await build({
    entryPoints: [join(root, "scripts/exe/main.ts")],
    outfile: main,
    bundle: true,
    platform: "node",
    format: "cjs",
    target: "node22",
    minify: true,
    keepNames: true, // errors are told by their names
    legalComments: "none",
    external: ["zeromq", "pyodide", "typescript", ...(koffi ? [] : ["koffi"])],
    alias: koffi ? { koffi: join(root, "scripts/exe/koffi.ts") } : {},
    loader: { ".py": "text" },
    banner: {
      js: 'const importMetaUrl = require("node:url").pathToFileURL(__filename).href;',
    },
    define: {
      "import.meta.url": "importMetaUrl",
      // Optional speed-ups of ws that are not installed: the bundle need not look for them.
      "process.env.WS_NO_BUFFER_UTIL": '"1"',
      "process.env.WS_NO_UTF_8_VALIDATE": '"1"',
    },
    logLevel: "error",
  });
}

/** By the names under which they are asked for. */
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

/** A file that is in use is replaced, not altered under whoever runs it. */
async function put(
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
