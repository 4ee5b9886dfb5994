/**
 * Jupyter's directories: where kernelspecs are searched, in order of precedence,
 * and where connection files are.
 *
 * These are Jupyter's own rules for every platform, as a function of the
 * environment. This server is not Python and has no `sys.prefix`. It uses the
 * activated environment instead, and after it the Pythons on the PATH.
 */
import { access, constants, readdir } from "node:fs/promises";
import { posix, win32 } from "node:path";
import { variable } from "../host/environment.ts";
import { findProgram, searchPath } from "../host/program.ts";
import { homeDirectory } from "../host/working-directory.ts";

/** The kind of directory that a kernelspec is in; `option` is the server's own flag. */
export type KernelspecOrigin =
  "option" | "jupyter_path" | "user" | "environment" | "system" | "ipython";

export interface KernelsDirectory {
  /** A directory whose subdirectories are kernelspecs; it need not exist. */
  readonly path: string;
  readonly origin: KernelspecOrigin;
}

export interface SearchOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Searched before all others: prefixes, data directories, or directories of kernelspecs. */
  readonly extraDirs?: readonly string[];
  readonly platform?: NodeJS.Platform;
  readonly home?: string;
}

export async function kernelsDirectories(
  options: SearchOptions = {},
): Promise<KernelsDirectory[]> {
  const search = searchContext(options);
  const { join, list } = search;
  const user = withOrigin("user", await userDirs(search));
  const environment = withOrigin(
    "environment",
    (await prefixesIn(search)).map((prefix) =>
      join(prefix, "share", "jupyter"),
    ),
  );
  const system = systemDirs(search);
  const dataDirs = [
    ...withOrigin("jupyter_path", list("JUPYTER_PATH")),
    ...((await prefersEnvironment(search))
      ? [...environment, ...user]
      : [...user, ...environment]),
    ...withOrigin("system", system),
    ...withOrigin("ipython", [
      search.get("IPYTHONDIR") ?? join(search.home, ".ipython"),
    ]),
  ];
  return distinct([
    ...extraDirectories(search, options.extraDirs ?? []),
    ...dataDirs
      // As in Jupyter, a prefix that is also a system directory has the system's precedence.
      .filter(
        ({ path, origin }) =>
          origin !== "environment" || !system.includes(path),
      )
      .map(({ path, origin }) => ({ path: join(path, "kernels"), origin })),
  ]);
}

/** The prefixes of activated environments and of the Pythons on the PATH, in order. */
export async function environmentPrefixes(
  options: SearchOptions = {},
): Promise<string[]> {
  return prefixesIn(searchContext(options));
}

/** The directory for connection files, where Jupyter's tools look for kernels that run. */
export function jupyterRuntimeDirectory(options: SearchOptions = {}): string {
  const search = searchContext(options);
  return (
    search.get("JUPYTER_RUNTIME_DIR") ?? search.join(dataDir(search), "runtime")
  );
}

type Search = ReturnType<typeof searchContext>;

/** The input of Jupyter's rules. */
function searchContext({
  env = process.env,
  platform = process.platform,
  home = homeDirectory({ env, platform }),
}: SearchOptions) {
  const path = platform === "win32" ? win32 : posix;
  /** The variable's value, unless it is empty. */
  const get = (name: string): string | undefined =>
    variable(env, name, platform) || undefined;
  return {
    env,
    platform,
    home,
    path,
    get,
    join: (...parts: string[]): string => path.join(...parts),
    list: (name: string): string[] =>
      (get(name)?.split(path.delimiter) ?? []).filter((one) => one !== ""),
    /** Whether to use the platform's own directories. */
    isNative: isSet(get("JUPYTER_PLATFORM_DIRS")),
  };
}

/** Each path is tried as a prefix, as a data directory and as a directory of kernelspecs, because users give all three. */
function extraDirectories(
  { join }: Search,
  extraDirs: readonly string[],
): KernelsDirectory[] {
  return withOrigin(
    "option",
    extraDirs.flatMap((path) => [
      join(path, "share", "jupyter", "kernels"),
      join(path, "kernels"),
      path,
    ]),
  );
}

async function userDirs(search: Search): Promise<string[]> {
  const skipsUserSites = isSet(search.get("PYTHONNOUSERSITE"));
  return [dataDir(search), ...(skipsUserSites ? [] : await userSites(search))];
}

function systemDirs({ platform, isNative, get, join, list }: Search): string[] {
  if (platform === "win32") {
    const shared = isSet(get("JUPYTER_USE_PROGRAMDATA"))
      ? get("PROGRAMDATA")
      : undefined;
    return shared === undefined ? [] : [join(shared, "jupyter")];
  }
  if (isNative && platform === "darwin") {
    return ["/Library/Application Support/Jupyter"];
  }
  const listed = isNative ? list("XDG_DATA_DIRS") : [];
  const roots = listed.length > 0 ? listed : ["/usr/local/share", "/usr/share"];
  return roots.map((root) => join(root, "jupyter"));
}

async function prefixesIn(search: Search): Promise<string[]> {
  const active = [search.get("VIRTUAL_ENV"), search.get("CONDA_PREFIX")];
  return [
    ...new Set([
      ...active.filter((prefix) => prefix !== undefined),
      ...(await pythonPrefixes(search)),
    ]),
  ];
}

async function prefersEnvironment({ get }: Search): Promise<boolean> {
  const configured = get("JUPYTER_PREFER_ENV_PATH");
  if (configured !== undefined) return isSet(configured);
  const virtualenv = get("VIRTUAL_ENV");
  if (virtualenv !== undefined && (await isWritable(virtualenv))) return true;
  const conda = get("CONDA_PREFIX");
  const name = get("CONDA_DEFAULT_ENV") ?? "base";
  return conda !== undefined && name !== "base" && (await isWritable(conda));
}

function dataDir({ platform, home, isNative, get, join }: Search): string {
  const configured = get("JUPYTER_DATA_DIR");
  if (configured !== undefined) return configured;
  if (platform === "darwin") {
    return isNative
      ? join(home, "Library", "Application Support", "Jupyter")
      : join(home, "Library", "Jupyter");
  }
  if (platform !== "win32") {
    const data = get("XDG_DATA_HOME") ?? join(home, ".local", "share");
    return join(data, "jupyter");
  }
  if (isNative) {
    const local = get("LOCALAPPDATA") ?? join(home, "AppData", "Local");
    return join(local, "Jupyter");
  }
  const roaming = get("APPDATA");
  if (roaming !== undefined) return join(roaming, "jupyter");
  return join(get("JUPYTER_CONFIG_DIR") ?? join(home, ".jupyter"), "data");
}

/** The directories in which `pip install --user` puts data files. */
async function userSites({
  platform,
  home,
  get,
  join,
}: Search): Promise<string[]> {
  const base = get("PYTHONUSERBASE");
  if (base !== undefined) return [join(base, "share", "jupyter")];
  if (platform === "darwin") {
    const root = join(home, "Library", "Python");
    const versions = await readdir(root).catch(() => []); // usually it does not exist
    return versions
      .filter((version) => /^\d+\.\d+$/.test(version))
      .sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
      .map((version) => join(root, version, "share", "jupyter"));
  }
  if (platform === "win32") {
    const roaming = get("APPDATA");
    return roaming === undefined
      ? []
      : [join(roaming, "Python", "share", "jupyter")];
  }
  return [join(home, ".local", "share", "jupyter")];
}

/**
 * The `<prefix>` of each `<prefix>/bin/python3`. Links are not followed: the
 * `python` of a virtual environment is a link, and the link's directory is the
 * environment.
 */
async function pythonPrefixes({
  env,
  platform,
  home,
  path,
}: Search): Promise<string[]> {
  const isWindows = platform === "win32";
  const lookup = { env, cwd: home, platform };
  const prefixes: string[] = [];
  for (const directory of searchPath(lookup)) {
    if (!path.isAbsolute(directory)) continue;
    const python = path.join(directory, isWindows ? "python.exe" : "python3");
    if ((await findProgram(python, lookup)) === undefined) continue;
    const folder = path.basename(directory).toLowerCase();
    // Outside virtual environments, Windows has python.exe in the prefix itself.
    const inPrefix = isWindows && folder !== "scripts";
    prefixes.push(inPrefix ? directory : path.dirname(directory));
  }
  return prefixes;
}

/** Whether one of Jupyter's switches is on: it has a value, and the value does not mean "no". */
function isSet(value: string | undefined): boolean {
  return (
    value !== undefined && !/^(no|n|false|off|0|0\.0)$/i.test(value.trim())
  );
}

async function isWritable(prefix: string): Promise<boolean> {
  return access(prefix, constants.W_OK).then(
    () => true,
    () => false,
  );
}

function withOrigin(
  origin: KernelspecOrigin,
  paths: readonly string[],
): KernelsDirectory[] {
  return paths.map((path) => ({ path, origin }));
}

function distinct(
  directories: readonly KernelsDirectory[],
): KernelsDirectory[] {
  const seen = new Set<string>();
  return directories.filter(({ path }) => {
    if (seen.has(path)) return false;
    seen.add(path);
    return true;
  });
}
