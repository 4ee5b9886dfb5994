/**
 * Which kernels can be started here: Jupyter's kernelspecs, and the embedded
 * Python, which is there where nothing else is.
 */
import { failure, type Kernelspec } from "../contract/index.ts";
import { argvOf } from "./kernel/argv.ts";
import {
  findKernelspec,
  findKernelspecs,
  type Kernelspec as Found,
} from "./kernel/kernelspecs.ts";
import { workingDirectory } from "./kernel/working-directory.ts";

export interface KernelspecFinderOptions {
  /** Looked through before all other places. */
  readonly extraDirs: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The kernels that we bring, best first. */
  readonly embedded: readonly Kernelspec[];
}

export interface Kernelspecs {
  readonly default: string | null;
  readonly kernelspecs: Kernelspec[];
  readonly problems: { path: string; message: string }[];
}

export class KernelspecFinder {
  readonly #options: KernelspecFinderOptions;

  constructor(options: KernelspecFinderOptions) {
    this.#options = options;
  }

  async list(): Promise<Kernelspecs> {
    const { extraDirs, env, embedded } = this.#options;
    const found = await findKernelspecs({ env, extraDirs });
    const kernelspecs = await Promise.all(
      found.kernelspecs.map((kernelspec) => this.#describe(kernelspec)),
    );
    const names = new Set(kernelspecs.map(({ name }) => name));
    const all = [
      ...kernelspecs,
      ...embedded.filter(({ name }) => !names.has(name)),
    ];
    return {
      default: preferred(all),
      kernelspecs: all,
      problems: [...found.problems],
    };
  }

  /** By name, in whatever case. Throws `kernelspec_not_found`, which says what there is. */
  async find(name: string): Promise<Kernelspec> {
    const { extraDirs, env, embedded } = this.#options;
    const { kernelspec } = await findKernelspec(name, { env, extraDirs });
    if (kernelspec !== undefined) return this.#describe(kernelspec);
    const own = embedded.find((spec) => spec.name === name.toLowerCase());
    if (own !== undefined) return own;
    const { kernelspecs } = await this.list();
    const known = kernelspecs.map((spec) => spec.name).join(", ");
    throw failure("kernelspec_not_found", { name, known });
  }

  /** With a command that can be run: only `{connection_file}` is left to fill in. */
  async #describe(found: Found): Promise<Kernelspec> {
    const { name, spec, resource_dir, resources } = found;
    const env = Object.fromEntries(
      Object.entries(this.#options.env).filter(
        (entry): entry is [string, string] => entry[1] !== undefined,
      ),
    );
    const { path: cwd } = await workingDirectory("");
    return {
      name,
      display_name: spec.display_name,
      language: spec.language,
      argv: await argvOf(found, { env, cwd }),
      interrupt_mode: spec.interrupt_mode ?? "signal",
      env: spec.env ?? {},
      metadata: spec.metadata ?? {},
      resource_dir,
      resources,
      ...(spec.kernel_protocol_version !== undefined && {
        kernel_protocol_version: spec.kernel_protocol_version,
      }),
    };
  }
}

/** Python first, as Jupyter's own clients choose, and a real one before the embedded one. */
function preferred(kernelspecs: readonly Kernelspec[]): string | null {
  const choice =
    kernelspecs.find(({ name }) => name === "python3") ??
    kernelspecs.find(({ language }) => language === "python") ??
    kernelspecs[0];
  return choice?.name ?? null;
}
