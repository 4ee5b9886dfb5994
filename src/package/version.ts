/** The version of this package, and the version of Kallichore that it is compatible with. */
import { readPackageFile } from "./files.ts";

/** The newest Kallichore with which this server is compatible. */
export const COMPATIBLE_VERSION = "0.1.69";

/** Whether the value is a version, such as `0.1.69` or `0.2.0-beta.1`. */
export function isVersion(value: unknown): value is string {
  return typeof value === "string" && /^\d[\w.+-]{0,63}$/.test(value);
}

export const VERSION: string = readVersion();

/** Reads the package's own file: two levels above `dist/bin` and the sources, one above `dist`. */
function readVersion(): string {
  for (const path of ["../../package.json", "../package.json"]) {
    const text = readPackageFile({ asset: "package.json", paths: [path] });
    if (text === undefined) continue;
    const { name, version } = JSON.parse(text) as Record<string, string>;
    if (name === "kallichore" && version !== undefined) return version;
  }
  return "unknown";
}
