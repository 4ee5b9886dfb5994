/**
 * Ignores SIGTERM, SIGINT and `shutdown_request`: it ends only at SIGKILL, or
 * when its parent has ended. Executes any code for ever.
 */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("stubborn"),
  handlers: {
    execute: forever,
    interrupt: forever,
    shutdown: forever,
  },
});
for (const signal of ["SIGTERM", "SIGINT"] as const) {
  process.removeAllListeners(signal);
  process.on(signal, () => {});
}
setTimeout(() => process.exit(9), 600_000); // so that it does not stay for long after a killed suite

function forever(): Promise<never> {
  return new Promise(() => {});
}
