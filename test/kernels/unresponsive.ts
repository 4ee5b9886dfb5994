/** Binds its sockets, and never answers, not even the heartbeat. It ends at a signal. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("unresponsive"),
  accepts: () => false,
  heartbeat: false,
  handlers: { execute: () => undefined },
});
