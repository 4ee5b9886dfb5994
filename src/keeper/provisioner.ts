/**
 * Kernels in a keeper, behind the kernel port: a session cannot tell them from
 * kernels of the server's own process tree, but for the numbers of their events.
 */
import { randomBytes } from "node:crypto";
import { isAbsolute, resolve } from "node:path";
import type { ConnectionInfo } from "../../contract/index.ts";
import type { Hooks, Kernel, Provisioner, Recipe } from "../kernel/kernel.ts";
import type { Faults } from "../log/faults.ts";
import { type KeeperLink, KeeperUnreachable } from "./link.ts";
import { RemoteKernel } from "./remote-kernel.ts";

export interface KeptProvisionerOptions {
  /** The link to the keeper, or what opens it: called for each start, and when the last link's keeper is gone. */
  readonly link: KeeperLink | (() => KeeperLink | Promise<KeeperLink>);
  /** The variables that kernels inherit. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly faults: Faults;
}

export function keptProvisioner({
  link: given,
  env: variables,
  faults,
}: KeptProvisionerOptions): Provisioner {
  const env = Object.fromEntries(
    Object.entries(variables).filter(([, value]) => value !== undefined),
  ) as Record<string, string>;
  const kernels = new Map<string, RemoteKernel>();
  let last: KeeperLink | undefined;
  const linkOf = async (): Promise<KeeperLink> =>
    (last = await (typeof given === "function" ? given() : given));

  /** The link to a keeper that has kernels, and may take its time. */
  const lateLink = async (signal: AbortSignal): Promise<KeeperLink> => {
    for (;;) {
      try {
        return await linkOf();
      } catch (error) {
        signal.throwIfAborted();
        const isLate = error instanceof KeeperUnreachable && error.isLate;
        if (!isLate) throw error;
      }
    }
  };

  const begin = async (
    recipe: Recipe,
    hooks: Hooks,
    signal: AbortSignal,
    connection?: ConnectionInfo,
  ): Promise<Kernel> => {
    const {
      run_id = randomBytes(16).toString("hex"),
      resume,
      ...rest
    } = recipe;
    const link = await (resume === undefined ? linkOf() : lateLink(signal));
    const kernel = new RemoteKernel({ run_id, recipe, hooks, link, faults });
    kernels.set(run_id, kernel);
    void kernel.over.then(() => kernels.delete(run_id));
    if (resume !== undefined) return kernel.resume(resume.after, signal);
    const { working_directory } = rest;
    const wanted = {
      ...rest,
      working_directory: absolute(working_directory),
    };
    return kernel.begin(
      connection === undefined
        ? { verb: "launch", run_id, recipe: wanted, env }
        : { verb: "adopt", run_id, recipe: wanted, env, connection },
      signal,
    );
  };

  return {
    launch: (recipe, hooks, signal) => begin(recipe, hooks, signal),
    adopt: (recipe, connection, hooks, signal) =>
      begin(recipe, hooks, signal, connection),
    async reserve(recipe) {
      const link = await linkOf();
      const connection = await link.command({ verb: "reserve", recipe, env });
      return connection as ConnectionInfo;
    },
    release(session_id) {
      // Without an answer, the keeper is gone, and its reservations with it.
      last
        ?.command({ verb: "release", session_id }, { waitsForStream: true })
        .catch(() => {});
    },
    acknowledge(run_id, number) {
      last?.acknowledge(run_id, number);
      kernels.get(run_id)?.acknowledged(number);
    },
  };
}

/** The keeper's own directory is another one than the server's. */
function absolute(path: string): string {
  return isAbsolute(path) || path.startsWith("~") ? path : resolve(path);
}
