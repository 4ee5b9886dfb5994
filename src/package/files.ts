/**
 * The files of this package that are read while it runs. In the single
 * executable they are assets of it; otherwise they lie beside the code, as
 * often as that is bundled: in `dist`, in `dist/bin`, in the sources.
 */
import { existsSync, readFileSync } from "node:fs";

/** Asked for by its whole name, which bundlers shorten: there is no `sea` without `node:`. */
const sea = process.getBuiltinModule("node:sea");

/** Whether all of it is one executable file, Node included. */
export const isExecutable = sea.isSea();

export interface PackageFile {
  /** By which the executable knows it. */
  readonly asset: string;
  /** Relative to this module, wherever it may have been bundled into; the first that exists. */
  readonly places: readonly string[];
}

/** Its text; `undefined` where there is none. */
export function readPackageFile({
  asset,
  places,
}: PackageFile): string | undefined {
  if (isExecutable) return sea.getAsset(asset, "utf8");
  const found = places
    .map((place) => new URL(place, import.meta.url))
    .find((place) => existsSync(place));
  return found === undefined ? undefined : readFileSync(found, "utf8");
}
