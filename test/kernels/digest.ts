/** Answers code with its length and its SHA-256, so that what arrived can be compared with what was sent, and repeats nothing. */
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
