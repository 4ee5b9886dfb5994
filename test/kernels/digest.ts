/** Answers code with its length and its SHA-256, so that the received code can be compared with the sent one, and repeats nothing. */
import { createHash } from "node:crypto";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("digest"),
  handlers: {
    execute: ({ code, silent }, io) => {
      if (silent) return {};
      const digest = createHash("sha256").update(code).digest("hex");
      return io.result({ "text/plain": `${code.length} ${digest}` });
    },
  },
});
