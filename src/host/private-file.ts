/** Private files that hold JSON: mode 0600, written whole or not at all. And private directories. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";

/** Two processes may write one file at the same time: it has the content of one of them. Throws a system error. */
export function writePrivate(path: string, value: unknown): void {
  writePrivateText(path, JSON.stringify(value));
}

/** The same, for JSON that is encoded already. */
export function writePrivateText(path: string, json: string): void {
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, json, { mode: 0o600 });
  renameSync(draft, path);
}

/** Throws a system error, or a `SyntaxError` if the content is not JSON. */
export function readPrivate(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** Makes the directory and those above it, with mode 0700. Throws the system's error, which Node's own `recursive` hides if a file system is read-only. */
export function makePrivateDirectory(path: string): void {
  if (isMade(path)) return;
  makePrivateDirectory(dirname(path));
  if (!isMade(path)) throw new Error(`${path} was removed meanwhile`);
}

/** False if the directory above it does not exist. */
function isMade(path: string): boolean {
  try {
    mkdirSync(path, { mode: 0o700 });
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return true;
    if (code === "ENOENT" && dirname(path) !== path) return false;
    throw error;
  }
}
