/** Starts well, and dies of a signal in the middle of the first execution: busy was said, idle never is. */
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
