/**
 * Shows progress of work that takes longer than a second: on stderr, if it is a
 * terminal; the line is removed at the end. The available packages handle SIGINT
 * themselves and end the process while a kernel still runs.
 */
import type { OutputStream } from "./terminal.ts";

const DELAY_MS = 1_000;
const FRAME_MS = 100;
const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];
const CLEAR_LINE = "\r\u001b[2K";

/** Resolves with the result of `work`, and shows `text` meanwhile. */
export async function withProgress<T>(
  stream: OutputStream,
  text: string,
  work: Promise<T>,
): Promise<T> {
  if (!stream.isTerminal) return work;
  const startedAt = performance.now();
  let frame = -1;
  const timer = setInterval(() => {
    if (performance.now() - startedAt < DELAY_MS) return;
    frame = (frame + 1) % FRAMES.length;
    const mark = stream.colors.cyan(FRAMES[frame]);
    const line = `${mark} ${text}`;
    void stream.write(`${CLEAR_LINE}${line}`); // never rejects
  }, FRAME_MS);
  try {
    return await work;
  } finally {
    clearInterval(timer);
    if (frame >= 0) await stream.write(CLEAR_LINE);
  }
}
