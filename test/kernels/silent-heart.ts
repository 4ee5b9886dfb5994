/** Executes `stop` by stopping its heartbeat; everything else goes on. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

const { wire } = await runKernel({
  kernelInfo: kernelInfo("silent-heart"),
  handlers: {
    execute({ code }, io) {
      if (code === "stop") wire.stopHeartbeat();
      return io.result({ "text/plain": code });
    },
  },
});
