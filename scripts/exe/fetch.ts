/** Fetches pinned packages with npm into a cache folder, and checks their digests. */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdir, readFile, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { PinnedPackage } from "./platforms.ts";

const run = promisify(execFile);
const CACHE = fileURLToPath(
  new URL("../../node_modules/.cache/kallichore-exe", import.meta.url),
);

/** The package's unpacked folder. */
export async function fetchPackage(pinned: PinnedPackage): Promise<string> {
  const { name, version, integrity } = pinned;
  const folder = join(CACHE, `${name.replaceAll("/", "-")}-${version}`);
  const isCached = await stat(folder).then(
    () => true,
    () => false,
  );
  if (isCached) return folder;
  const draft = `${folder}.${process.pid}`;
  await mkdir(draft, { recursive: true });
  try {
    const { stdout } = await run(
      "npm",
      ["pack", "--silent", "--pack-destination", draft, `${name}@${version}`],
      { shell: process.platform === "win32" },
    );
    const tarball = join(draft, stdout.trim());
    const digest = createHash("sha512").update(await readFile(tarball));
    if (`sha512-${digest.digest("base64")}` !== integrity) {
      throw new Error(
        `The digest of ${name} ${version} differs from the pinned one in platforms.ts`,
      );
    }
    await run("tar", ["-xzf", tarball, "-C", draft]);
    await rename(join(draft, "package"), folder);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return folder;
}
