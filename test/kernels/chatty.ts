/**
 * After the first subscription, sends numbered lines on iopub as fast as it
 * can, CHATTY_LIMIT of them, and writes their number to CHATTY_FILE. This side
 * drops nothing: a missing line was lost at the other end.
 */
import { writeFileSync } from "node:fs";
import type { Kernel } from "../../kernels/kernel.ts";
import { runKernel } from "../../kernels/serve.ts";
import { kernelInfo } from "./kernel-info.ts";

const { CHATTY_FILE, CHATTY_LIMIT = "100000" } = process.env;
const TURN = 1_000; // messages, after which the other sockets are served
let started = false;

await runKernel({
  kernelInfo: kernelInfo("chatty"),
  iopubLimit: 0,
  subscribed: (kernel) => {
    if (started) return;
    started = true;
    void chat(kernel);
  },
  handlers: {
    execute: ({ code }, io) => io.result({ "text/plain": code }),
  },
});

async function chat(kernel: Kernel): Promise<void> {
  for (let n = 1; n <= Number(CHATTY_LIMIT); n += 1) {
    await kernel.publish("stream", { name: "stdout", text: `${n}\n` });
    if (n % TURN === 0) {
      count(n);
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  count(Number(CHATTY_LIMIT));
}

function count(n: number): void {
  if (CHATTY_FILE !== undefined) writeFileSync(CHATTY_FILE, String(n));
}
