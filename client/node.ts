/** Modules of Node (which Deno and Bun imitate). They are looked up when they are needed, so that bundles for browsers do not contain them. */
import type * as files from "node:fs/promises";
import type * as http from "node:http";
import type * as util from "node:util";

interface Modules {
  "node:http": typeof http;
  "node:fs/promises": typeof files;
  "node:util": typeof util;
}

const { process, Deno, Bun } = globalThis as {
  process?: NodeJS.Process;
  Deno?: unknown;
  Bun?: unknown;
};

/** Whether this is Node itself: only there does `ws` use real sockets. */
export const isNode =
  process?.versions.node !== undefined &&
  Deno === undefined &&
  Bun === undefined;

export function nodeModule<N extends keyof Modules>(name: N): Modules[N] {
  const found = process?.getBuiltinModule(name);
  if (found === undefined) {
    throw new Error(
      `This needs ${name}, which is not available in this runtime`,
    );
  }
  return found;
}
