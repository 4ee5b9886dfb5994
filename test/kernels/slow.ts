/** Waits SLOW_S seconds (default: 5) before it binds; then it works as usual. */
import { setTimeout as sleep } from "node:timers/promises";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await sleep(Number(process.env["SLOW_S"] ?? 5) * 1_000);
await runKernel({
  kernelInfo: kernelInfo("slow"),
  handlers: { execute: ({ code }, io) => io.result({ "text/plain": code }) },
});
