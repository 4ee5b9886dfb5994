/**
 * Caches V8's compiled code of this program for its next start, from Node 22.1
 * on. The cache is in a directory that only the user can write to, because a
 * writer could change the code that runs. `NODE_DISABLE_COMPILE_CACHE` turns the
 * cache off, and `NODE_COMPILE_CACHE` names another directory, as for any program.
 */
import { mkdirSync, statSync } from "node:fs";
import module from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

/** The types of the oldest supported Node lack this function. */
const { enableCompileCache } = module as unknown as {
  readonly enableCompileCache?: (directory?: string) => unknown;
};

if (enableCompileCache !== undefined) cacheWith(enableCompileCache);

function cacheWith(enable: (directory?: string) => unknown): void {
  if (process.env["NODE_COMPILE_CACHE"]) return; // Node has enabled the cache already
  try {
    const directory = directoryIn(process.env, process.platform);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (isOurs(directory)) enable(directory);
  } catch {
    // Without the cache, the program only starts more slowly.
  }
}

function directoryIn(
  env: NodeJS.ProcessEnv,
  platform: NodeJS.Platform,
): string {
  const caches =
    platform === "win32"
      ? env["LOCALAPPDATA"]
      : platform === "darwin"
        ? join(homedir(), "Library", "Caches")
        : env["XDG_CACHE_HOME"];
  return join(caches || join(homedir(), ".cache"), "kallichore", "compiled");
}

/** Whether no other user may write there. On Windows, a user's own directories are private already. */
function isOurs(directory: string): boolean {
  const { uid, mode } = statSync(directory);
  const user = process.getuid?.();
  return user === undefined || (uid === user && (mode & 0o022) === 0);
}
