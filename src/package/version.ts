/** Which version this is, and which Kallichore it stands in for. */
import { readPackageFile } from "./files.ts";

/** The newest Kallichore that we are compatible with. */
export const COMPATIBLE_VERSION = "0.1.69";

/** Whether it looks like `0.1.69`, or `0.2.0-beta.1`. */
export function isVersion(said: unknown): said is string {
  return typeof said === "string" && /^\d[\w.+-]{0,63}$/.test(said);
}

export const VERSION: string = readVersion();

/** From the package's own file: two steps up from `dist/bin` and from the sources, one from `dist`. */
function readVersion(): string {
  for (const place of ["../../package.json", "../package.json"]) {
    const text = readPackageFile({ asset: "package.json", places: [place] });
    if (text === undefined) continue;
    const { name, version } = JSON.parse(text) as Record<string, string>;
    if (name === "kallichore" && version !== undefined) return version;
  }
  return "unknown";
}
