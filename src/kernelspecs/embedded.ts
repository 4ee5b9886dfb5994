/** The kernels that we bring: Python in WebAssembly, where its optional package is installed. */
import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import type { Kernelspec } from "../../contract/index.ts";
import {
  isPyodideInstalled,
  PYTHON_WASM,
  pythonWasmKernelspec,
} from "../../kernels/python-wasm/kernelspec.ts";
import { isExecutable } from "../package/files.ts";

export function embeddedKernelspecs(): readonly Kernelspec[] {
  if (isExecutable) return []; // it is no Node that could run another program
  const program = programOf(PYTHON_WASM);
  if (program === undefined || !isPyodideInstalled(program)) return [];
  const { argv, env, metadata, ...spec } = pythonWasmKernelspec(program);
  return [
    {
      ...spec,
      name: PYTHON_WASM,
      argv: [...argv],
      env: { ...env },
      metadata: { ...metadata },
      resource_dir: dirname(program),
      resources: {},
    },
  ];
}

/** The built program, seen from `dist`, from `dist/bin` and from the sources. */
function programOf(name: string): string | undefined {
  return ["./kernels", "../../kernels", "../../dist/kernels"]
    .map((folder) =>
      fileURLToPath(new URL(`${folder}/${name}.js`, import.meta.url)),
    )
    .find((path) => existsSync(path));
}
