/**
 * The kernels that this server can start: Jupyter's kernelspecs, and the
 * embedded Python, which needs no installation.
 */
import { readFile, realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { failure, type Kernelspec } from "../../contract/index.ts";
import { argvOf } from "./argv.ts";
import {
  findKernelspec,
  findKernelspecs,
  type InstalledKernelspec as Found,
} from "./installed.ts";
import { KallichoreMetadata } from "./our-metadata.ts";
import { workingDirectory } from "../host/working-directory.ts";

export interface KernelspecFinderOptions {
  /** Searched before all other directories. */
  readonly extraDirs: readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The default kernelspec, if it is there. Default: a Python. */
  readonly preferred?: string | undefined;
  /** The kernels that come with this package, best first. Called at each request. */
  readonly embedded: () => readonly Kernelspec[];
}

export interface Kernelspecs {
  readonly default: string | null;
  readonly kernelspecs: Kernelspec[];
  readonly problems: { path: string; message: string }[];
}

/** A source of kernelspecs. */
export interface KernelspecSource {
  list(): Promise<Kernelspecs>;
  /** Finds a kernelspec by name, ignoring case. Throws `kernelspec_not_found`, which lists the available ones, and `bad_kernelspec`. */
  find(name: string): Promise<Kernelspec>;
  /** The bytes of a file beside a kernelspec, such as a logo or a script; `undefined` if there is no such file. Throws as `find` does. Default: no kernelspec has files. */
  resource?(name: string, file: string): Promise<Buffer | undefined>;
}

export function kernelspecFinder({
  extraDirs,
  env,
  preferred,
  embedded,
}: KernelspecFinderOptions): KernelspecSource {
  return {
    async list() {
      const found = await findKernelspecs({ env, extraDirs });
      const unusable = found.kernelspecs.flatMap((kernelspec) => {
        const message = problemIn(kernelspec);
        return message === undefined
          ? []
          : [{ path: fileOf(kernelspec), message }];
      });
      const kernelspecs = await Promise.all(
        found.kernelspecs
          .filter((kernelspec) => problemIn(kernelspec) === undefined)
          .map((kernelspec) => describe(kernelspec, env)),
      );
      const names = new Set(kernelspecs.map(({ name }) => name));
      const all = [
        ...kernelspecs,
        ...embedded().filter(({ name }) => !names.has(name)),
      ];
      return {
        default: defaultOf(all, preferred),
        kernelspecs: all,
        problems: [...found.problems, ...unusable],
      };
    },

    async find(name) {
      const found = await findKernelspec(name, { env, extraDirs });
      const { kernelspec, problems } = found;
      if (kernelspec !== undefined) {
        const why = problemIn(kernelspec);
        if (why === undefined) return describe(kernelspec, env);
        const path = fileOf(kernelspec);
        throw failure("bad_kernelspec", { name: kernelspec.name, path, why });
      }
      const own = embedded().find((spec) => spec.name === name.toLowerCase());
      if (own !== undefined) return own;
      const broken = problems.find(
        ({ path }) => basename(path) === KERNEL_JSON,
      );
      if (broken !== undefined) {
        const { path, message: why } = broken;
        throw failure("bad_kernelspec", { name, path, why });
      }
      const { kernelspecs } = await this.list();
      const known = kernelspecs.map((spec) => spec.name).join(", ");
      throw failure("kernelspec_not_found", { name, known });
    },

    async resource(name, file) {
      const { resource_dir } = await this.find(name);
      // The environment in it may have secrets. What clients need of it is in the listing.
      if (file === KERNEL_JSON || file.startsWith(".")) return undefined;
      try {
        const directory = await realpath(resource_dir);
        const path = await realpath(join(directory, file));
        // A link that leads out of the directory is not followed.
        if (dirname(path) !== directory) return undefined;
        return await readFile(path);
      } catch {
        return undefined;
      }
    },
  };
}

/** The kernelspec as clients see it. Its command can be run when `{connection_file}` is filled in. */
async function describe(
  found: Found,
  variables: KernelspecFinderOptions["env"],
): Promise<Kernelspec> {
  const { name, spec, resource_dir, resources } = found;
  const env = Object.fromEntries(
    Object.entries(variables).filter(
      (entry): entry is [string, string] => entry[1] !== undefined,
    ),
  );
  const { path: cwd } = await workingDirectory("", { env });
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

/** The metadata that decide where a kernel runs: Jupyter's provisioners, and Enterprise Gateway's older process proxies. */
const ProvisionerMetadata = z.object({
  kernel_provisioner: z
    .looseObject({ provisioner_name: z.string().optional() })
    .optional(),
  process_proxy: z
    .looseObject({ class_name: z.string().optional() })
    .optional(),
});

/** Why this server cannot use a readable kernelspec. */
function problemIn({ spec: { metadata = {} } }: Found): string | undefined {
  const ours = KallichoreMetadata.safeParse(metadata);
  if (!ours.success) return `metadata: ${z.prettifyError(ours.error)}`;
  const provisioned = ProvisionerMetadata.safeParse(metadata);
  if (!provisioned.success) {
    return `metadata: ${z.prettifyError(provisioned.error)}`;
  }
  const { kernel_provisioner, process_proxy } = provisioned.data;
  const provisioner = kernel_provisioner?.provisioner_name ?? LOCAL;
  if (provisioner !== LOCAL) {
    return `it requires the kernel provisioner ${provisioner}; this server has only ${LOCAL}, which runs kernels on its own machine`;
  }
  const proxy = process_proxy?.class_name;
  if (proxy !== undefined && !proxy.endsWith(".LocalProcessProxy")) {
    return `it requires the process proxy ${proxy}; this server runs kernels on its own machine only`;
  }
  return undefined;
}

const LOCAL = "local-provisioner";
const KERNEL_JSON = "kernel.json";

function fileOf({ resource_dir }: Found): string {
  return join(resource_dir, KERNEL_JSON);
}

/** Python first, as Jupyter's own clients choose, and an installed one before the embedded one. */
function defaultOf(
  kernelspecs: readonly Kernelspec[],
  preferred: string | undefined,
): string | null {
  const choice =
    kernelspecs.find(({ name }) => name === preferred?.toLowerCase()) ??
    kernelspecs.find(({ name }) => name === "python3") ??
    kernelspecs.find(({ language }) => language === "python") ??
    kernelspecs[0];
  return choice?.name ?? null;
}
