/** Binds its sockets, and never answers anything, not even the heartbeat. It does end when told by a signal. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("deaf"),
  accepts: () => false,
  heartbeat: false,
  handlers: { execute: () => undefined },
});
