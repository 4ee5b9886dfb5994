/** The kernelspec of the embedded Python, with its limits. */

import { createRequire } from "node:module";

export interface PythonWasmKernelspec {
  readonly argv: readonly string[];
  readonly display_name: string;
  readonly language: string;
  readonly interrupt_mode: "signal" | "message";
  readonly env: Readonly<Record<string, string>>;
  readonly metadata: Readonly<Record<string, unknown>>;
}

export const PYTHON_WASM = "python-wasm";

/** The limits of this kernel, as text for users who choose a kernel. */
export const limits = [
  "no threads and no subprocesses",
  "no packages with native code while offline",
  "loops run three to five times slower than in native Python",
  "no sandbox: it reads and writes the files of its working directory",
] as const;

/** `program` is the path of the built `python-wasm.js`; its worker is in the same directory. */
export function pythonWasmKernelspec(program: string): PythonWasmKernelspec {
  return {
    argv: [process.execPath, program, "{connection_file}"],
    display_name: "Python (WebAssembly)",
    language: "python",
    interrupt_mode: "message", // a signal would work too, but not on Windows
    env: {},
    metadata: { limits },
  };
}

/** Whether the optional package `pyodide` can be resolved from `program`. */
export function isPyodideInstalled(program: string): boolean {
  try {
    createRequire(program).resolve("pyodide");
    return true;
  } catch {
    return false; // it was not found
  }
}
