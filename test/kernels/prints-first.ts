/** Prints 10 MB on its own stdout before it starts: it starts only if the output is read. */
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

const LINE = `${"x".repeat(1_023)}\n`;
for (let kilobytes = 0; kilobytes < 10_240; kilobytes += 1) {
  await new Promise<unknown>((resolve) => process.stdout.write(LINE, resolve));
}
await runKernel({
  kernelInfo: kernelInfo("prints-first"),
  handlers: { execute: ({ code }, io) => io.result({ "text/plain": code }) },
});
