/** The kernel info of the suite's small kernels. */
import type { KernelInfo } from "../../kernels/kernel.ts";

export function kernelInfo(name: string): KernelInfo {
  return {
    protocol_version: "5.3",
    implementation: name,
    implementation_version: "1.0.0",
    language_info: {
      name: "echo",
      version: "1.0",
      mimetype: "text/plain",
      file_extension: ".txt",
    },
    banner: `The ${name} kernel`,
  };
}
