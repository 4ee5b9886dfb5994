/** Starts well, and dies of a signal during the first execution: after busy, before idle. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("crash-on-execute"),
  handlers: {
    async execute(_, io) {
      await io.stream("stderr", "about to crash\n");
      process.kill(process.pid, "SIGSEGV");
      await new Promise(() => {});
    },
  },
});
