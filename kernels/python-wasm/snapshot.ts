/**
 * Boots Python, from a snapshot of its memory if there is one.
 *
 * Pyodide's snapshots are an internal feature. So every problem with a snapshot
 * is logged, and Python boots without it, which takes longer. A snapshot is code
 * that will run. So only a file that belongs to this user, and that no other
 * user can write, is used.
 */
import {
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { basename, dirname, join } from "node:path";
import type { loadPyodide, PyodideAPI } from "pyodide";

type Load = typeof loadPyodide;

export interface Booted {
  readonly pyodide: PyodideAPI;
  readonly fromSnapshot: boolean;
}

/** `prepare` does the work that every start needs. Its result is part of the snapshot, so it must leave no reference to JavaScript in Python. */
export async function boot(
  load: Load,
  file: string,
  prepare: (pyodide: PyodideAPI) => void,
): Promise<Booted> {
  try {
    const snapshot =
      (await readSnapshot(file)) ?? (await makeSnapshot(load, file, prepare));
    const pyodide = await load({ _loadSnapshot: snapshot });
    return { pyodide, fromSnapshot: true };
  } catch (error) {
    console.error("Python starts without a snapshot:", error);
    await rm(file, { force: true }).catch(() => {}); // the next start tries again, or fails as this one did
  }
  const pyodide = await load();
  prepare(pyodide);
  return { pyodide, fromSnapshot: false };
}

/** One file for each version of Pyodide, of Node, and of the prepared source. */
export function snapshotFile(
  pyodide: string,
  source: string,
  env: NodeJS.ProcessEnv = process.env,
): string {
  const digest = createHash("sha256").update(source).digest("hex");
  const name = [
    PREFIX,
    pyodide,
    process.version,
    process.arch,
    digest.slice(0, 12),
  ];
  return join(cacheFolder(env), `${name.join("-")}${SUFFIX}`);
}

const PREFIX = "python-wasm";
const SUFFIX = ".snapshot";
const KEPT = 3; // files of 31 MB: another version of Node or of this package may still use its own

function cacheFolder(env: NodeJS.ProcessEnv): string {
  const {
    KALLICHORE_CACHE_DIR: ours,
    XDG_CACHE_HOME: xdg,
    LOCALAPPDATA: local,
  } = env;
  if (ours !== undefined && ours !== "") return ours;
  if (process.platform === "win32" && local !== undefined)
    return join(local, "kallichore", "Cache");
  if (process.platform === "darwin")
    return join(homedir(), "Library", "Caches", "kallichore");
  return join(
    xdg !== undefined && xdg !== "" ? xdg : join(homedir(), ".cache"),
    "kallichore",
  );
}

async function readSnapshot(file: string): Promise<Uint8Array | undefined> {
  const found = await stat(file).catch(() => undefined); // the file does not exist yet
  if (found === undefined) return undefined;
  const foreign =
    process.getuid !== undefined &&
    (found.uid !== process.getuid() || (found.mode & 0o022) !== 0);
  if (foreign)
    throw new Error(
      `${file} is not used: it belongs to another user, or other users can write it`,
    );
  return readFile(file);
}

async function makeSnapshot(
  load: Load,
  file: string,
  prepare: (pyodide: PyodideAPI) => void,
): Promise<Uint8Array> {
  const pyodide = await load({ _makeSnapshot: true });
  prepare(pyodide);
  const snapshot = pyodide.makeMemorySnapshot();
  keep(file, snapshot).catch((error: unknown) => {
    console.error("The snapshot of Python was not kept:", error);
  }); // in the meantime Python boots from the snapshot in memory
  return snapshot;
}

/** Writes the file so that it appears complete or not at all, even if another process writes the same file. */
async function keep(file: string, snapshot: Uint8Array): Promise<void> {
  const folder = dirname(file);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const partial = `${file}.${process.pid}`;
  try {
    await writeFile(partial, snapshot, { mode: 0o600, flag: "wx" });
    await rename(partial, file);
  } finally {
    await rm(partial, { force: true });
  }
  await prune(folder, basename(file));
}

async function prune(folder: string, fresh: string): Promise<void> {
  const names = (await readdir(folder)).filter(
    (name) => name.startsWith(PREFIX) && name !== fresh, // also partial files that a killed process left
  );
  const dated = await Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      const { mtimeMs } = await stat(path);
      return { path, mtimeMs };
    }),
  );
  dated.sort((one, other) => other.mtimeMs - one.mtimeMs);
  await Promise.all(
    dated.slice(KEPT - 1).map(({ path }) => rm(path, { force: true })),
  );
}
