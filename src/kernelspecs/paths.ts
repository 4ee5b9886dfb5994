/**
 * Where kernelspecs are looked for, in the order in which a name is decided.
 *
 * Jupyter's own rules, for every platform, as a function of the environment.
 * We are not Python and have no `sys.prefix`: what stands in for it is the
 * activated environment, and after it the Pythons on the PATH.
 */
import { access, constants, readdir } from "node:fs/promises";
import { posix, win32 } from "node:path";
import { variable } from "../host/environment.ts";
import { findProgram, searchPath } from "../host/program.ts";
import { homeDirectory } from "../host/working-directory.ts";

/** Who put a kernelspec there; `option` is our own flag. */
export type KernelspecOrigin =
  "option" | "jupyter_path" | "user" | "environment" | "system" | "ipython";

export interface KernelsDirectory {
  /** A directory whose directories are kernelspecs; it need not exist. */
  readonly path: string;
  readonly origin: KernelspecOrigin;
}

export interface SearchOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Before all others: prefixes, data directories, or directories of kernelspecs. */
  readonly extraDirs?: readonly string[];
  readonly platform?: NodeJS.Platform;
  readonly home?: string;
}

export async function kernelsDirectories(
  options: SearchOptions = {},
): Promise<KernelsDirectory[]> {
  const search = new Search(options);
  const user = at("user", await search.user());
  const environment = at(
    "environment",
    (await search.prefixes()).map((prefix) =>
      search.join(prefix, "share", "jupyter"),
    ),
  );
  const dataDirs = [
    ...at("jupyter_path", search.list("JUPYTER_PATH")),
    ...((await search.prefersEnvironment())
      ? [...environment, ...user]
      : [...user, ...environment]),
    ...at("system", search.system()),
    ...at("ipython", [search.ipython()]),
  ];
  const system = new Set(search.system());
  return distinct([
    ...search.extra(),
    ...dataDirs
      // As Jupyter does: a prefix that is the system's is found in the system's place.
      .filter(
        ({ path, origin }) => origin !== "environment" || !system.has(path),
      )
      .map(({ path, origin }) => ({
        path: search.join(path, "kernels"),
        origin,
      })),
  ]);
}

/** The prefixes of activated environments and of the Pythons on the PATH, in order. */
export async function environmentPrefixes(
  options: SearchOptions = {},
): Promise<string[]> {
  return new Search(options).prefixes();
}

class Search {
  readonly #env: NonNullable<SearchOptions["env"]>;
  readonly #extraDirs: readonly string[];
  readonly #platform: NodeJS.Platform;
  readonly #home: string;
  readonly #path: typeof posix;

  constructor({
    env = process.env,
    extraDirs = [],
    platform = process.platform,
    home,
  }: SearchOptions) {
    this.#env = env;
    this.#extraDirs = extraDirs;
    this.#platform = platform;
    this.#path = platform === "win32" ? win32 : posix;
    this.#home = home ?? homeDirectory({ env, platform });
  }

  join(...parts: string[]): string {
    return this.#path.join(...parts);
  }

  list(name: string): string[] {
    const listed = this.#get(name)?.split(this.#path.delimiter) ?? [];
    return listed.filter((path) => path !== "");
  }

  /** Forgiving, because each of the three is what somebody will try. */
  extra(): KernelsDirectory[] {
    return at(
      "option",
      this.#extraDirs.flatMap((path) => [
        this.join(path, "share", "jupyter", "kernels"),
        this.join(path, "kernels"),
        path,
      ]),
    );
  }

  async user(): Promise<string[]> {
    const userSites = isSet(this.#get("PYTHONNOUSERSITE"))
      ? []
      : await this.#userSites();
    return [this.#dataDir(), ...userSites];
  }

  system(): string[] {
    const native = this.#nativeDirs;
    if (this.#platform === "win32") {
      const shared = isSet(this.#get("JUPYTER_USE_PROGRAMDATA"))
        ? this.#get("PROGRAMDATA")
        : undefined;
      return shared === undefined ? [] : [this.join(shared, "jupyter")];
    }
    if (native && this.#platform === "darwin") {
      return ["/Library/Application Support/Jupyter"];
    }
    const listed = native ? this.list("XDG_DATA_DIRS") : [];
    const roots =
      listed.length > 0 ? listed : ["/usr/local/share", "/usr/share"];
    return roots.map((root) => this.join(root, "jupyter"));
  }

  ipython(): string {
    return this.#get("IPYTHONDIR") ?? this.join(this.#home, ".ipython");
  }

  async prefixes(): Promise<string[]> {
    const active = [this.#get("VIRTUAL_ENV"), this.#get("CONDA_PREFIX")];
    return [
      ...new Set([
        ...active.filter((prefix) => prefix !== undefined),
        ...(await this.#pythonPrefixes()),
      ]),
    ];
  }

  async prefersEnvironment(): Promise<boolean> {
    const said = this.#get("JUPYTER_PREFER_ENV_PATH");
    if (said !== undefined) return isSet(said);
    const virtualenv = this.#get("VIRTUAL_ENV");
    if (virtualenv !== undefined && (await isOurs(virtualenv))) return true;
    const conda = this.#get("CONDA_PREFIX");
    const name = this.#get("CONDA_DEFAULT_ENV") ?? "base";
    return conda !== undefined && name !== "base" && (await isOurs(conda));
  }

  #get(name: string): string | undefined {
    return variable(this.#env, name, this.#platform) || undefined;
  }

  get #nativeDirs(): boolean {
    return isSet(this.#get("JUPYTER_PLATFORM_DIRS"));
  }

  #dataDir(): string {
    const said = this.#get("JUPYTER_DATA_DIR");
    if (said !== undefined) return said;
    const native = this.#nativeDirs;
    if (this.#platform === "darwin") {
      return native
        ? this.join(this.#home, "Library", "Application Support", "Jupyter")
        : this.join(this.#home, "Library", "Jupyter");
    }
    if (this.#platform !== "win32") {
      const data =
        this.#get("XDG_DATA_HOME") ?? this.join(this.#home, ".local", "share");
      return this.join(data, "jupyter");
    }
    if (native) {
      const local =
        this.#get("LOCALAPPDATA") ?? this.join(this.#home, "AppData", "Local");
      return this.join(local, "Jupyter");
    }
    const roaming = this.#get("APPDATA");
    if (roaming !== undefined) return this.join(roaming, "jupyter");
    const config =
      this.#get("JUPYTER_CONFIG_DIR") ?? this.join(this.#home, ".jupyter");
    return this.join(config, "data");
  }

  /** Where `pip install --user` puts data files. */
  async #userSites(): Promise<string[]> {
    const base = this.#get("PYTHONUSERBASE");
    if (base !== undefined) return [this.join(base, "share", "jupyter")];
    if (this.#platform === "darwin") {
      const root = this.join(this.#home, "Library", "Python");
      const versions = await readdir(root).catch(() => []); // Mostly there is none.
      return versions
        .filter((version) => /^\d+\.\d+$/.test(version))
        .sort((a, b) => b.localeCompare(a, "en", { numeric: true }))
        .map((version) => this.join(root, version, "share", "jupyter"));
    }
    if (this.#platform === "win32") {
      const roaming = this.#get("APPDATA");
      return roaming === undefined
        ? []
        : [this.join(roaming, "Python", "share", "jupyter")];
    }
    return [this.join(this.#home, ".local", "share", "jupyter")];
  }

  /**
   * `<prefix>` of each `<prefix>/bin/python3`. Links are not followed: the
   * `python` of a virtual environment is one, and it is the place that counts.
   */
  async #pythonPrefixes(): Promise<string[]> {
    const windows = this.#platform === "win32";
    const lookup = {
      env: this.#env,
      cwd: this.#home,
      platform: this.#platform,
    };
    const prefixes: string[] = [];
    for (const directory of searchPath(lookup)) {
      if (!this.#path.isAbsolute(directory)) continue;
      const python = this.join(directory, windows ? "python.exe" : "python3");
      if ((await findProgram(python, lookup)) === undefined) continue;
      const folder = this.#path.basename(directory).toLowerCase();
      // Outside virtual environments, Windows has python.exe in the prefix itself.
      const inPrefix = windows && folder !== "scripts";
      prefixes.push(inPrefix ? directory : this.#path.dirname(directory));
    }
    return prefixes;
  }
}

/** Jupyter's switches: anything but a spelled-out no. */
function isSet(value: string | undefined): boolean {
  return (
    value !== undefined && !/^(no|n|false|off|0|0\.0)$/i.test(value.trim())
  );
}

async function isOurs(prefix: string): Promise<boolean> {
  return access(prefix, constants.W_OK).then(
    () => true,
    () => false,
  );
}

function at(
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
