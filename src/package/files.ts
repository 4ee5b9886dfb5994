/**
 * Reads files of this package at run time. In the single executable they are
 * assets; otherwise they are beside the code, which is in `dist`, in `dist/bin` or
 * in the sources.
 */
import { existsSync, readFileSync } from "node:fs";

/** Loaded by its full name, because bundlers remove the prefix `node:` of an import, and there is no `sea` without it. */
const sea = process.getBuiltinModule("node:sea");

/** Whether the program is a single executable file that includes Node. */
export const isExecutable = sea.isSea();

export interface PackageFile {
  /** Its name as an asset of the executable. */
  readonly asset: string;
  /** Paths relative to the bundled module; the first existing one is read. */
  readonly paths: readonly string[];
}

/** The text of the file; `undefined` if it does not exist. */
export function readPackageFile({
  asset,
  paths,
}: PackageFile): string | undefined {
  if (isExecutable) return sea.getAsset(asset, "utf8");
  const found = paths
    .map((path) => new URL(path, import.meta.url))
    .find((url) => existsSync(url));
  return found === undefined ? undefined : readFileSync(found, "utf8");
}
