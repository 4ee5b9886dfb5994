/**
 * The Kallichore version that a Positron expects, if this server is installed in
 * the place of Positron's own: it is in the `package.json` of Positron's
 * extension, two directories above the server's.
 */
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { isVersion } from "../../package/version.ts";

/** `undefined` if `server_path` is not inside a Positron, or its version is not valid. */
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
    return undefined; // there is no readable package.json
  }
}
