/**
 * A kernelspec's `argv`, made ready for a launch on this machine.
 *
 * `{connection_file}` is left for the launcher, which knows it last; give it in
 * `values` to have it filled in, like any other launch argument.
 */
import { posix, win32 } from "node:path";
import type { Variables } from "../host/environment.ts";
import { environmentPrefixes } from "./paths.ts";
import type { InstalledKernelspec } from "./installed.ts";
import { findProgram } from "../host/program.ts";
import { filled } from "../host/template.ts";
import { expandHome } from "../host/working-directory.ts";

export interface ArgvOptions {
  /** Launch arguments by their own names: `{kernel_id}`, `{cwd}`, a spec's parameters. */
  readonly values?: Variables;
  /** The environment that the kernel will run in. */
  readonly env: Variables;
  /** The directory that it will start in. */
  readonly cwd: string;
  /** It goes through a shell, whose start-up decides what is on the PATH: a bare name is left to it. */
  readonly inShell?: boolean;
  readonly platform?: NodeJS.Platform;
}

/** A program that is not found stays as it is named, for the launcher to say so. */
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
    const text = filled(word, { placeholder: (name) => known[name] });
    return /^~[/\\]/.test(text) ? expandHome(text, { env, platform }) : text;
  });
  const [program = "", ...args] = words;
  // What an environment brings is run by that environment, in a shell too; the system's is for whatever comes first.
  const isEnvironments = ownPrefix !== undefined && origin !== "system";
  if (inShell && !isEnvironments) return [program, ...args];
  return [
    await resolved(program, ownPrefix, { env, cwd, inShell, platform }),
    ...args,
  ];
}

/** `<prefix>` of `<prefix>/share/jupyter/kernels/<name>`. */
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
 * A bare name is the program of the environment that the kernelspec belongs to,
 * else of the PATH. Where there is no `python`, `python3` will do, and the other
 * way round: kernelspecs are installed with either, machines have either.
 */
async function resolved(
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
