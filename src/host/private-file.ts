/** Private files that hold JSON: mode 0600, written whole or not at all. */
import { readFileSync, renameSync, writeFileSync } from "node:fs";

/** Two processes may write one file at the same time: it has the content of one of them. Throws a system error. */
export function writePrivate(path: string, value: unknown): void {
  const draft = `${path}.${process.pid}.new`;
  writeFileSync(draft, JSON.stringify(value), { mode: 0o600 });
  renameSync(draft, path);
}

/** Throws a system error, or a `SyntaxError` if the content is not JSON. */
export function readPrivate(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}
