/** The small kernels of the suite, each with one habit or fault, as programs to start. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bundled } from "../bundled.ts";

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

let folder: string | undefined;

function programOf(name: string): string {
  folder ??= bundled(
    "kallichore-test-kernels",
    {
      ...Object.fromEntries(
        names.map((kernel) => [kernel, `test/kernels/${kernel}.ts`]),
      ),
      "python-wasm": "kernels/python-wasm/main.ts",
      "python-wasm-worker": "kernels/python-wasm/worker.ts",
    },
    { loader: { ".py": "text" }, external: ["zeromq", "pyodide"] },
  );
  return join(folder, `${name}.js`);
}
