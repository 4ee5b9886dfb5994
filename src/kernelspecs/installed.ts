/**
 * Finds the kernelspecs that are installed on this machine.
 *
 * Each call searches again, because users install kernels while the server
 * runs. For each name, the first directory with a readable kernelspec wins. A
 * kernelspec that cannot be read is reported as a problem and does not hide
 * another with the same name.
 */
import { readdir, readFile, realpath } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import {
  kernelsDirectories,
  type KernelspecOrigin,
  type SearchOptions,
} from "./paths.ts";

/** The content of `kernel.json`; unknown keys are kept. */
export const KernelspecFile = z.looseObject({
  argv: z.array(z.string()).min(1),
  display_name: z.string().optional(),
  language: z.string().default(""),
  interrupt_mode: z
    .string()
    .toLowerCase()
    .pipe(z.enum(["signal", "message"]))
    .optional(),
  env: z
    .record(
      z.string(),
      z.union([z.string(), z.number(), z.boolean()]).transform(String),
    )
    .optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  kernel_protocol_version: z.string().optional(),
});

export interface InstalledKernelspec {
  /** Lower case. */
  readonly name: string;
  readonly spec: z.output<typeof KernelspecFile> & {
    readonly display_name: string;
  };
  readonly resource_dir: string;
  /** File names: logos by their name without extension, `kernel.js` and `kernel.css` by their full name. */
  readonly resources: Readonly<Record<string, string>>;
  readonly origin: KernelspecOrigin;
}

/** A kernelspec that could not be read, and the reason. */
export interface KernelspecProblem {
  readonly path: string;
  readonly message: string;
}

export interface FoundKernelspecs {
  /** By name, in alphabetical order. */
  readonly kernelspecs: readonly InstalledKernelspec[];
  readonly problems: readonly KernelspecProblem[];
}

export async function findKernelspecs(
  options: SearchOptions = {},
): Promise<FoundKernelspecs> {
  return find(options, () => true);
}

/**
 * Finds one kernelspec by name, ignoring case. `python` means `python3` if there
 * is no kernelspec `python`. The problems are those of this name.
 */
export async function findKernelspec(
  name: string,
  options: SearchOptions = {},
): Promise<{
  readonly kernelspec: InstalledKernelspec | undefined;
  readonly problems: readonly KernelspecProblem[];
}> {
  const requested = name.toLowerCase();
  const names = requested === "python" ? ["python", "python3"] : [requested];
  const { kernelspecs, problems } = await find(options, (candidate) =>
    names.includes(candidate),
  );
  return { kernelspec: kernelspecs[0], problems };
}

async function find(
  options: SearchOptions,
  accepts: (name: string) => boolean,
): Promise<FoundKernelspecs> {
  const found = new Map<string, InstalledKernelspec>();
  const problems: KernelspecProblem[] = [];
  // The same directory may occur twice because of a link.
  const seen = new Set<string>();

  for (const { path, origin } of await kernelsDirectories(options)) {
    let entries: string[];
    try {
      const real = await realpath(path);
      if (seen.has(real)) continue;
      seen.add(real);
      entries = await readdir(path);
    } catch (error) {
      if (!isAbsent(error)) problems.push({ path, message: reason(error) });
      continue;
    }
    for (const entry of entries.sort()) {
      const name = entry.toLowerCase();
      if (found.has(name) || !accepts(name)) continue;
      const outcome = await read(join(path, entry), name, origin);
      if (outcome === undefined) continue;
      if ("message" in outcome) {
        problems.push(outcome);
        continue;
      }
      found.set(name, outcome);
      if (!/^[a-z0-9._-]+$/.test(name)) {
        problems.push({
          path: outcome.resource_dir,
          message:
            "The directory's name is not a valid kernel name: use letters, digits, '.', '_' and '-'",
        });
      }
    }
  }
  const kernelspecs = [...found.values()].sort((a, b) =>
    a.name < b.name ? -1 : 1,
  );
  return { kernelspecs, problems };
}

/** `undefined` for a directory without kernel.json, which is not a kernelspec. */
async function read(
  resource_dir: string,
  name: string,
  origin: KernelspecOrigin,
): Promise<InstalledKernelspec | KernelspecProblem | undefined> {
  const path = join(resource_dir, "kernel.json");
  try {
    const text = await readFile(path, "utf8");
    const parsed = KernelspecFile.safeParse(
      JSON.parse(text.replace(/^\uFEFF/, "")),
    );
    if (!parsed.success)
      return { path, message: z.prettifyError(parsed.error) };
    const display_name = parsed.data.display_name ?? name;
    return {
      name,
      spec: { ...parsed.data, display_name },
      resource_dir,
      resources: await resourcesIn(resource_dir),
      origin,
    };
  } catch (error) {
    return isAbsent(error) ? undefined : { path, message: reason(error) };
  }
}

async function resourcesIn(
  directory: string,
): Promise<Readonly<Record<string, string>>> {
  const resources: Record<string, string> = {};
  for (const file of (await readdir(directory)).sort()) {
    if (file === "kernel.js" || file === "kernel.css") resources[file] = file;
    const logo = /^(logo-.+?)(\.\w+)?$/.exec(file)?.[1];
    if (logo !== undefined) resources[logo] = file;
  }
  return resources;
}

function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
