/**
 * Keeps what V8 has compiled of this program for its next start, where Node can
 * (from 22.1): in a directory of the user's own, since whoever can write there
 * says what we run. `NODE_DISABLE_COMPILE_CACHE` forbids it, and
 * `NODE_COMPILE_CACHE` names another place, as for any program.
 */
import { mkdirSync, statSync } from "node:fs";
import module from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

/** Not in the types of the oldest Node that we run on. */
const { enableCompileCache } = module as unknown as {
  readonly enableCompileCache?: (directory?: string) => unknown;
};

if (enableCompileCache !== undefined) keepIn(enableCompileCache);

function keepIn(enable: (directory?: string) => unknown): void {
  if (process.env["NODE_COMPILE_CACHE"]) return; // it is kept there already
  try {
    const directory = placeOf(process.env, process.platform);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    if (isOurs(directory)) enable(directory);
  } catch {
    // Starting slowly is no reason not to start.
  }
}

function placeOf(env: NodeJS.ProcessEnv, platform: NodeJS.Platform): string {
  const caches =
    platform === "win32"
      ? env["LOCALAPPDATA"]
      : platform === "darwin"
        ? join(homedir(), "Library", "Caches")
        : env["XDG_CACHE_HOME"];
  return join(caches || join(homedir(), ".cache"), "kallichore", "compiled");
}

/** Nobody else may write there. Windows keeps a user's own directories so itself. */
function isOurs(directory: string): boolean {
  const { uid, mode } = statSync(directory);
  const user = process.getuid?.();
  return user === undefined || (uid === user && (mode & 0o022) === 0);
}
