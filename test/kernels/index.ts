/**
 * The small kernels of the suite, each with one habit or fault, as programs to
 * start.
 *
 * They are bundled once, by content, into the cache folder of `node_modules`: a
 * bundle starts in 0.15 s, and a loader of TypeScript takes 0.45 s.
 */
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildSync } from "esbuild";

const names = [
  "echo",
  "unresponsive",
  "stubborn",
  "stillborn",
  "chatty",
  "slow",
  "crash-on-execute",
  "forgetful",
  "no-heartbeat",
  "registered",
  "late",
  "prints-first",
  "witness",
  "reluctant",
  "digest",
] as const;
export type TestKernel = (typeof names)[number];

export interface TestKernelspec {
  readonly argv: readonly string[];
  readonly display_name: string;
  readonly language: string;
  readonly interrupt_mode: "signal" | "message";
  readonly env: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly kernel_protocol_version?: string;
}

/** The argv as in a kernelspec: with `{connection_file}` in place of the file's name. */
export function argvOf(name: TestKernel): string[] {
  return [process.execPath, programOf(name), "{connection_file}"];
}

export function kernelspecOf(
  name: TestKernel,
  overrides: Partial<TestKernelspec> = {},
): TestKernelspec {
  return {
    argv: argvOf(name),
    display_name: `The ${name} kernel`,
    language: "echo",
    interrupt_mode: "signal",
    env: {},
    metadata: {},
    ...(name === "registered" ? { kernel_protocol_version: "5.5" } : {}),
    ...overrides,
  };
}

/** Writes `<folder>/kernels/<name>/kernel.json`, so that the folder can be used as JUPYTER_PATH. */
export function installKernelspecs(
  folder: string,
  wanted: readonly TestKernel[] = names,
): void {
  for (const name of wanted) {
    const home = join(folder, "kernels", name);
    mkdirSync(home, { recursive: true });
    writeFileSync(
      join(home, "kernel.json"),
      JSON.stringify(kernelspecOf(name)),
    );
  }
}

/** The bundle of the embedded Python's program. */
export function pythonWasmProgram(): string {
  return programOf("python-wasm");
}

const root = fileURLToPath(new URL("../../", import.meta.url));
let folder: string | undefined;

function programOf(name: string): string {
  folder ??= bundle();
  return join(folder, `${name}.js`);
}

/** Several workers may do this at once: the folder's name is the hash of its content, and it appears complete. */
function bundle(): string {
  const { outputFiles } = buildSync({
    entryPoints: [
      ...names.map((name) => ({
        in: join(root, `test/kernels/${name}.ts`),
        out: name,
      })),
      { in: join(root, "kernels/python-wasm/main.ts"), out: "python-wasm" },
      {
        in: join(root, "kernels/python-wasm/worker.ts"),
        out: "python-wasm-worker",
      },
    ],
    bundle: true,
    platform: "node",
    format: "esm",
    target: "node20",
    loader: { ".py": "text" },
    external: ["zeromq", "pyodide"],
    outdir: root, // nothing is written there
    write: false,
  });
  const hash = createHash("sha256");
  for (const { path, contents } of outputFiles) {
    hash.update(basename(path)).update(contents);
  }
  const cache = join(root, "node_modules/.cache/kallichore-test-kernels");
  const complete = join(cache, hash.digest("hex").slice(0, 16));
  if (existsSync(complete)) return complete;

  const partial = `${complete}.${process.pid}.partial`;
  mkdirSync(partial, { recursive: true });
  writeFileSync(join(partial, "package.json"), '{"type":"module"}');
  for (const { path, contents } of outputFiles) {
    writeFileSync(join(partial, basename(path)), contents);
  }
  renameSync(partial, complete);
  prune(cache);
  return complete;
}

/** Removes bundles that no test uses any more. */
function prune(cache: string): void {
  for (const name of readdirSync(cache)) {
    const path = join(cache, name);
    const { mtimeMs } = statSync(path);
    if (Date.now() - mtimeMs > A_DAY_MS) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

const A_DAY_MS = 86_400_000;
