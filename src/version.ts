/** Which version this is, and which Kallichore it stands in for. */
import { readFileSync } from "node:fs";

/** The newest Kallichore that we are compatible with. */
export const COMPATIBLE_VERSION = "0.1.64";

export const VERSION: string = readVersion();

/** From the package's own file: two steps up from `dist/bin`, one from `dist` and `src`. */
function readVersion(): string {
  for (const step of ["../package.json", "../../package.json"]) {
    try {
      const text = readFileSync(new URL(step, import.meta.url), "utf8");
      const { name, version } = JSON.parse(text) as Record<string, string>;
      if (name === "kallichore" && version !== undefined) return version;
    } catch {
      continue; // it lies elsewhere
    }
  }
  return "unknown";
}
