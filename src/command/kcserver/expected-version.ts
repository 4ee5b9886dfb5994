/**
 * Which Kallichore the Positron expects that has us in the place of its own
 * server: its extension's `package.json`, two folders above ours, says it.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { isVersion } from "../../package/version.ts";

/** `undefined` where no Positron is around `server_path`, or it says nothing that is a version. */
export function expectedVersion(server_path: string): string | undefined {
  const extension = dirname(dirname(dirname(server_path)));
  try {
    const text = readFileSync(join(extension, "package.json"), "utf8");
    const { name, positron } = JSON.parse(text) as {
      readonly name?: unknown;
      readonly positron?: { binaryDependencies?: { kallichore?: unknown } };
    };
    if (name !== "positron-supervisor") return undefined;
    const version = positron?.binaryDependencies?.kallichore;
    return isVersion(version) ? version : undefined;
  } catch {
    return undefined; // none that we can read
  }
}
