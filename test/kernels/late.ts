/**
 * Answers executions in pairs, the second first, each long after its idle. An
 * execution without a partner stays unanswered.
 */
import type { Io } from "../../kernels/io.ts";
import { NO_REPLY, type ReplyContent } from "../../kernels/kernel.ts";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

let held: Io | undefined;

await runKernel({
  kernelInfo: kernelInfo("late"),
  handlers: {
    async execute(_, io): Promise<ReplyContent> {
      if (held === undefined) {
        held = io;
        return NO_REPLY;
      }
      for (const one of [io, held]) {
        await one.reply({ status: "ok", execution_count: one.execution_count });
      }
      held = undefined;
      return NO_REPLY;
    },
  },
});
