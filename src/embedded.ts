/** The kernels that we bring: Python in WebAssembly, where its optional package is installed. */
import type { Kernelspec } from "../contract/index.ts";

export function embeddedKernelspecs(): readonly Kernelspec[] {
  return [];
}
