/**
 * Progress for what takes longer than a second: on terminals, on stderr, and
 * gone without a trace. Ours, because what the packages offer takes SIGINT for
 * itself and ends the process, with a kernel still running.
 */
import type { OutputStream } from "./terminal.ts";

const TIMEOUT_MS = 1_000;
const FRAME_MS = 100;
const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const CLEAR_LINE = "\r\u001b[2K";

/** `work`, with `text` shown while it takes long. */
export async function withProgress<T>(
  sink: OutputStream,
  text: string,
  work: Promise<T>,
): Promise<T> {
  if (!sink.isTerminal) return work;
  const began = performance.now();
  let frame = -1;
  const timer = setInterval(() => {
    if (performance.now() - began < TIMEOUT_MS) return;
    frame = (frame + 1) % FRAMES.length;
    const mark = sink.colors.cyan(FRAMES[frame]);
    const line = `${mark} ${text}`;
    void sink.write(`${CLEAR_LINE}${line}`); // never rejects
  }, FRAME_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (frame >= 0) await sink.write(CLEAR_LINE);
  }
}
