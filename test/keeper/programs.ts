/** The programs of a keeper and of a server that attaches to it, bundled once by content. */
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const root = fileURLToPath(new URL("../../", import.meta.url));
let folder: string | undefined;

export function programOf(name: "keeper" | "attaching"): string {
  folder ??= bundle();
  return join(folder, `${name}.js`);
}

function bundle(): string {
  const { outputFiles } = buildSync({
    entryPoints: {
      keeper: join(root, "src/bin/keeper.ts"),
      attaching: join(root, "test/keeper/attaching.ts"),
    },
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    external: ["koffi", "zeromq"],
    banner: {
      js: 'import { createRequire as made } from "node:module"; const require = made(import.meta.url);',
    },
    outdir: root, // nothing is written there
    write: false,
  });
  const hash = createHash("sha256");
  for (const { path, contents } of outputFiles) {
    hash.update(basename(path)).update(contents);
  }
  const cache = join(root, "node_modules/.cache/kallichore-test-keepers");
  const complete = join(cache, hash.digest("hex").slice(0, 16));
  if (existsSync(complete)) return complete;
  const partial = `${complete}.${process.pid}.partial`;
  mkdirSync(partial, { recursive: true });
  writeFileSync(join(partial, "package.json"), '{"type":"module"}');
  for (const { path, contents } of outputFiles) {
    writeFileSync(join(partial, basename(path)), contents);
  }
  renameSync(partial, complete);
  return complete;
}
