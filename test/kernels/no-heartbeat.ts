/** At the code `stop`, stops its heartbeat; everything else continues. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

const { wire } = await runKernel({
  kernelInfo: kernelInfo("no-heartbeat"),
  handlers: {
    execute({ code }, io) {
      if (code === "stop") wire.stopHeartbeat();
      return io.result({ "text/plain": code });
    },
  },
});
