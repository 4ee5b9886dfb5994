/** What only Node has (and Deno and Bun imitate), looked up when it is needed, so that bundles for browsers hold nothing of it. */
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

/** Node itself: only there does `ws` stand on real sockets. */
export const isNode =
  process?.versions.node !== undefined &&
  Deno === undefined &&
  Bun === undefined;

export function nodeModule<N extends keyof Modules>(name: N): Modules[N] {
  const found = process?.getBuiltinModule(name);
  if (found === undefined) {
    throw new Error(`${name} is needed for this, and is not to be had here`);
  }
  return found;
}
