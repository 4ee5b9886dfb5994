/** The kernels that the questions use. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const source = fileURLToPath(new URL("../kernel/flood.c", import.meta.url));
const cache = fileURLToPath(
  new URL("../../node_modules/.cache/bench/", import.meta.url),
);

/** Something that a question needs is not installed. The bench prints that, and skips the question. */
export class Missing extends Error {
  override readonly name = "Missing";
}

/** The command of the publisher, which is compiled at its first use. */
export function floodKernel(): string[] {
  const digest = createHash("sha256").update(readFileSync(source));
  const program = join(cache, `flood-${digest.digest("hex").slice(0, 16)}`);
  if (!existsSync(program)) compile(program);
  return [program, "{connection_file}"];
}

export function pythonKernel(python: string | undefined): string[] {
  if (python === undefined)
    throw new Missing("no Python with ipykernel was given: use --ipykernel");
  return [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"];
}

function compile(program: string): void {
  mkdirSync(cache, { recursive: true });
  const unfinished = `${program}.${process.pid}`;
  const { CC = "cc" } = process.env;
  const args = ["-O2", "-pthread", "-o", unfinished, source];
  const { error, status, stderr } = spawnSync(CC, args, { encoding: "utf8" });
  if (error !== undefined)
    throw new Missing(`there is no C compiler (${error.message})`);
  if (status !== 0) throw new Error(`${CC} failed:\n${stderr}`);
  renameSync(unfinished, program);
}
