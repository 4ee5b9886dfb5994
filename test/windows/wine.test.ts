/**
 * kcserver.exe on Windows, as far as Wine emulates it: the shipped executable,
 * a Windows Node for the kernels and for the client, pipes, jobs and events.
 * Runs only if WINE names a Wine, because it needs packages of 90 MB.
 *
 *     WINE=wine npx vitest run test/windows
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { build } from "esbuild";
import { beforeAll, describe, expect, test } from "vitest";
import { fetchPackage } from "../../scripts/exe/fetch.ts";
import { makeExecutable } from "../../scripts/exe/make.ts";
import { platforms } from "../../scripts/exe/platforms.ts";
import { needs } from "../needs.ts";

const { WINE: wine } = process.env;
const root = fileURLToPath(new URL("../..", import.meta.url));
const folder = join(root, "node_modules/.cache/kallichore-wine");
const STORY_MS = 300_000;

const run = promisify(execFile);
const env = {
  ...process.env,
  WINEPREFIX: join(folder, "prefix"),
  WINEARCH: "win64",
  WINEDEBUG: "-all",
};

/** Wine shows the whole file system as drive Z. */
function seenByWine(path: string): string {
  return `Z:${path.replaceAll("/", "\\")}`;
}

const title = "Windows, as Wine has it";
describe(title, needs(wine !== undefined, "Wine"), () => {
  let seen: Readonly<Record<string, unknown>> = {};

  beforeAll(async () => {
    const kcserver = await makeExecutable("win-x64", folder);
    await layOut();
    // By default, Wine reports an older Windows than Node requires.
    await run(wine ?? "", [
      ...["reg", "add", "HKCU\\Software\\Wine", "/v", "Version"],
      ...["/d", "win10", "/f"],
    ], { env }); // prettier-ignore
    const { node, binary } = platforms["win-x64"];
    const report = join(folder, "report.json");
    const log = openSync(join(folder, "story.log"), "w"); // Node under Wine cannot write to pipes of Linux
    const story = spawn(
      wine ?? "",
      [
        join(await fetchPackage(node), binary),
        ...[join(folder, "story.js"), kcserver],
        ...[join(folder, "kernel.js"), report],
      ].map(seenByWine),
      { env, stdio: ["ignore", log, log], timeout: STORY_MS },
    );
    await once(story, "exit");
    seen = JSON.parse(readFileSync(report, "utf8")) as typeof seen;
  }, STORY_MS + 120_000);

  test.each([
    ["where", { pipe: "\\\\.\\pipe\\kallichore-*", isExecutable: true }],
    ["a kernel has its handles", [true, true, true]],
    [
      "it is interrupted by the event, twice",
      { ended: ["error", "error"], events: "2" },
    ],
    [
      "a kernel that does not wait for the event is interrupted by message",
      { ended: "error", events: "unset" },
    ],
    [
      "its tree is measured, and killed",
      { before: true, exit: -1, threads: true, bytes: true },
    ],
    ["the processes that it leaves behind end with it", 3],
    [
      "it may be a script, and run in a folder with blanks and accents",
      { isThere: true, ended: "error" },
    ],
    [
      "its channels are on its own pipe",
      { pipe: "\\\\.\\pipe\\kallichore-*", frames: ["kernel", "kernel"] },
    ],
    [
      "its end leaves no files",
      { code: 0, kernel: false, file: false, pipe: false, complaints: [] },
    ],
    [
      "when the server is killed, kernels and their children end too",
      "none is left",
    ],
  ])("%s", (scene, outcome) => {
    expect(seen[scene]).toEqual(outcome);
  });
});

/** The story and its kernel, beside the packages that they need on Windows. */
async function layOut(): Promise<void> {
  mkdirSync(folder, { recursive: true });
  await build({
    entryPoints: ["story", "kernel"].map((name) =>
      join(root, `test/windows/${name}.ts`),
    ),
    outdir: folder,
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node22",
    external: ["koffi", "zeromq", "pyodide"],
    banner: {
      js: 'import { createRequire as createRequireForBundledPackages } from "node:module"; const require = createRequireForBundledPackages(import.meta.url);',
    },
  });
  const { koffi } = platforms["win-x64"];
  const packages = join(folder, "node_modules");
  const { dependencies = {} } = JSON.parse(
    readFileSync(join(root, "node_modules/zeromq/package.json"), "utf8"),
  ) as { dependencies?: Record<string, string> };
  for (const name of ["koffi", "zeromq", ...Object.keys(dependencies)]) {
    cpSync(join(root, "node_modules", name), join(packages, name), {
      recursive: true,
    });
  }
  cpSync(await fetchPackage(koffi), join(packages, koffi.name), {
    recursive: true,
  });
}
