/**
 * Programs of the tests, bundled once by content: a bundle starts in 0.15 s, and
 * a loader of TypeScript takes 0.45 s.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync, type BuildOptions } from "esbuild";

const root = fileURLToPath(new URL("../", import.meta.url));

/**
 * Returns the folder with the bundles, in the cache of `node_modules` under
 * `name`. Several workers may do this at once: the folder's name is the hash of its
 * content, and it appears complete. `entries`: files below the package, by the names
 * of their bundles.
 */
export function bundled(
  name: string,
  entries: Readonly<Record<string, string>>,
  options: BuildOptions,
): string {
  const { outputFiles } = buildSync({
    entryPoints: Object.entries(entries).map(([out, file]) => ({
      in: join(root, file),
      out,
    })),
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    ...options,
    outdir: root, // nothing is written there
    write: false,
  });
  const hash = createHash("sha256");
  for (const { path, contents } of outputFiles) {
    hash.update(basename(path)).update(contents);
  }
  const cache = join(root, "node_modules/.cache", name);
  const complete = join(cache, hash.digest("hex").slice(0, 16));
  if (existsSync(complete)) return complete;

  const partial = `${complete}.${process.pid}.partial`;
  mkdirSync(partial, { recursive: true });
  writeFileSync(join(partial, "package.json"), '{"type":"module"}');
  for (const { path, contents } of outputFiles) {
    writeFileSync(join(partial, basename(path)), contents);
  }
  renameSync(partial, complete);
  prune(cache);
  return complete;
}

/** Removes bundles that no test uses any more. */
function prune(cache: string): void {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    const { mtimeMs } = statSync(path);
    if (Date.now() - mtimeMs > A_DAY_MS) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

const A_DAY_MS = 86_400_000;
