/**
 * Ignores SIGTERM, SIGINT and `shutdown_request`: only SIGKILL ends it, or the
 * end of whoever started it. Executes whatever it is given for ever.
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
setTimeout(() => process.exit(9), 600_000); // so that a suite that was killed leaves nothing for long

function forever(): Promise<never> {
  return new Promise(() => {});
}
