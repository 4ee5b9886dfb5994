/**
 * Finds the file that the first word of a command refers to.
 *
 * The result is the file that the operating system will choose. A word with a
 * slash is a path relative to the kernel's working directory. A word without
 * one is the first executable with that name on the kernel's PATH, not on the server's.
 */
import { access, constants, stat } from "node:fs/promises";
import { posix, win32 } from "node:path";
import { variable } from "./environment.ts";

export interface ProgramOptions {
  /** The environment that the program will run in. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The directory that it will start in. */
  readonly cwd: string;
  readonly platform?: NodeJS.Platform;
}

/** The absolute path, or `undefined` if the program does not exist. */
export async function findProgram(
  program: string,
  { env, cwd, platform = process.platform }: ProgramOptions,
): Promise<string | undefined> {
  if (program === "") return undefined;
  const windows = platform === "win32";
  const path = windows ? win32 : posix;
  const suffixes = windows ? windowsSuffixes(program, env) : [""];

  if (/\//.test(program) || (windows && /[\\:]/.test(program))) {
    // Whether the file is executable is checked by the start, whose error reports it.
    return firstAccepted(
      suffixes,
      (suffix) => path.resolve(cwd, program) + suffix,
      isFile,
    );
  }
  for (const directory of searchPath({ env, cwd, platform })) {
    const found = await firstAccepted(
      suffixes,
      (suffix) => path.resolve(cwd, directory, program) + suffix,
      windows ? isFile : isExecutable,
    );
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The directories of PATH in order. On POSIX an empty entry means the working directory. */
export function searchPath({
  env,
  cwd,
  platform = process.platform,
}: ProgramOptions): string[] {
  if (platform === "win32") {
    const path = variable(env, "PATH", platform) ?? "";
    return [cwd, ...path.split(";").filter((entry) => entry !== "")];
  }
  // The default of execvp if PATH is not set.
  const path = env["PATH"] ?? "/usr/bin:/bin";
  return path.split(":").map((entry) => (entry === "" ? cwd : entry));
}

function windowsSuffixes(
  program: string,
  env: ProgramOptions["env"],
): readonly string[] {
  const known = (variable(env, "PATHEXT", "win32") ?? ".COM;.EXE;.BAT;.CMD")
    .split(";")
    .filter((suffix) => suffix !== "");
  const has = win32.extname(program).toUpperCase();
  return known.some((suffix) => suffix.toUpperCase() === has)
    ? [""]
    : known.map((suffix) => suffix.toLowerCase());
}

async function firstAccepted(
  suffixes: readonly string[],
  path: (suffix: string) => string,
  accepts: (path: string) => Promise<boolean>,
): Promise<string | undefined> {
  for (const suffix of suffixes) {
    const candidate = path(suffix);
    if (await accepts(candidate)) return candidate;
  }
  return undefined;
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile();
  } catch {
    return false; // it does not exist, or its directory may not be entered: not found in both cases
  }
}

async function isExecutable(path: string): Promise<boolean> {
  if (!(await isFile(path))) return false;
  return access(path, constants.X_OK).then(
    () => true,
    () => false,
  );
}
