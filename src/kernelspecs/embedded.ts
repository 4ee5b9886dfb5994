/** The kernels that come with this package: Python in WebAssembly, if its optional package is installed. */
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
  if (isExecutable) return []; // a single executable cannot run another program, as `node` can
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

/** The path of the built program, whether this module is in `dist`, in `dist/bin` or in the sources. */
function programOf(name: string): string | undefined {
  return ["./kernels", "../../kernels", "../../dist/kernels"]
    .map((folder) =>
      fileURLToPath(new URL(`${folder}/${name}.js`, import.meta.url)),
    )
    .find((path) => existsSync(path));
}
