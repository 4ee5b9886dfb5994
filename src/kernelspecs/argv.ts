/**
 * Prepares a kernelspec's `argv` for a launch on this machine.
 *
 * `{connection_file}` is usually left to the launcher, because its value is
 * known last. If `values` contains it, it is filled in like any other launch
 * argument.
 */
import { posix, win32 } from "node:path";
import type { Variables } from "../host/environment.ts";
import { environmentPrefixes } from "./paths.ts";
import type { InstalledKernelspec } from "./installed.ts";
import { findProgram } from "../host/program.ts";
import { fillIn } from "../host/template.ts";
import { expandHome } from "../host/working-directory.ts";

export interface ArgvOptions {
  /** Launch arguments by name: `{kernel_id}`, `{cwd}`, a kernelspec's parameters. */
  readonly values?: Variables;
  /** The environment that the kernel will run in. */
  readonly env: Variables;
  /** The directory in which the kernel will start. */
  readonly cwd: string;
  /** Whether a shell starts the kernel. Its start-up files decide the PATH, so the shell resolves a bare name. */
  readonly inShell?: boolean;
  readonly platform?: NodeJS.Platform;
}

/** A program that is not found keeps its name; the launcher reports the error. */
export async function argvOf(
  {
    spec,
    resource_dir,
    origin,
  }: Pick<InstalledKernelspec, "spec" | "resource_dir" | "origin">,
  {
    values = {},
    env,
    cwd,
    inShell = false,
    platform = process.platform,
  }: ArgvOptions,
): Promise<[string, ...string[]]> {
  const ownPrefix = prefixOf(resource_dir, platform);
  const prefix = ownPrefix ?? (await environmentPrefixes({ env, platform }))[0];
  const known: Readonly<Record<string, string | undefined>> = {
    prefix,
    ...values,
    resource_dir,
  };
  const words = spec.argv.map((word) => {
    const text = fillIn(word, { placeholder: (name) => known[name] });
    return /^~[/\\]/.test(text) ? expandHome(text, { env, platform }) : text;
  });
  const [program = "", ...args] = words;
  // A kernelspec of an environment runs with that environment's program, also in a shell. A system kernelspec uses the first program on the PATH.
  const isInEnvironment = ownPrefix !== undefined && origin !== "system";
  if (inShell && !isInEnvironment) return [program, ...args];
  return [
    await resolveProgram(program, ownPrefix, { env, cwd, inShell, platform }),
    ...args,
  ];
}

/** The `<prefix>` in `<prefix>/share/jupyter/kernels/<name>`. */
function prefixOf(
  resource_dir: string,
  platform: NodeJS.Platform,
): string | undefined {
  const path = platform === "win32" ? win32 : posix;
  const kernels = path.dirname(path.normalize(resource_dir));
  const tail = ["", "share", "jupyter", "kernels"].join(path.sep);
  return kernels.endsWith(tail) ? kernels.slice(0, -tail.length) : undefined;
}

/**
 * Resolves a bare name to the program in the kernelspec's environment, else on
 * the PATH. If there is no `python`, `python3` is used, and vice versa:
 * kernelspecs use either name, and machines have either name.
 */
async function resolveProgram(
  program: string,
  prefix: string | undefined,
  lookup: Omit<ArgvOptions, "values">,
): Promise<string> {
  if (/[/\\]/.test(program)) return program;
  const windows = lookup.platform === "win32";
  const folders = windows ? ["Scripts", ""] : ["bin"];
  const path = windows ? win32 : posix;
  const names = namesOf(program);
  const candidates = [
    ...(prefix === undefined
      ? []
      : names.flatMap((name) =>
          folders.map((folder) => path.join(prefix, folder, name)),
        )),
    ...(lookup.inShell === true ? [] : names),
  ];
  for (const candidate of candidates) {
    const found = await findProgram(candidate, lookup);
    if (found !== undefined) return found;
  }
  return program;
}

function namesOf(program: string): readonly string[] {
  if (program === "python") return ["python", "python3"];
  return program === "python3" ? ["python3", "python"] : [program];
}
