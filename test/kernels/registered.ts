/** Chooses its own ports and registers them (JEP 66), in the dialect of DIALECT: `posit` or `spec`. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

const { DIALECT } = process.env;
await runKernel({
  kernelInfo: { ...kernelInfo("registered"), protocol_version: "5.5" },
  ...(DIALECT === "posit" || DIALECT === "spec" ? { dialect: DIALECT } : {}),
  welcome: true,
  handlers: { execute: ({ code }, io) => io.result({ "text/plain": code }) },
});
