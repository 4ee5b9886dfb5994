/** Answers executions, and does not report idle after them. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

await runKernel({
  kernelInfo: kernelInfo("forgetful"),
  publishesStatus: (state, { header }) =>
    state === "busy" || header.msg_type !== "execute_request",
  handlers: { execute: ({ code }, io) => io.result({ "text/plain": code }) },
});
