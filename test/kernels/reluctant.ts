/** Takes a second to end, and answers any code with its process id. */
import { setTimeout as sleep } from "node:timers/promises";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("reluctant"),
  handlers: {
    execute: (_, io) => io.result({ "text/plain": String(process.pid) }),
    shutdown: () => sleep(1_000),
  },
});
