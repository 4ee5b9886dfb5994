/**
 * Fair scheduling of the readers of journals.
 *
 * If the server does not read a kernel's iopub in time, the kernel drops messages:
 * its PUB socket queues a thousand, which is ZeroMQ's default. Readers can wait,
 * because the journal keeps the entries. So readers are served one after the
 * other in a part of each turn of the event loop; a reader that must wait goes
 * first in the next turn. The server reads from kernels between the turns of the
 * readers, however many readers there are.
 */

/** The time for readers in one turn of the event loop. Reading from one kernel takes as long at most. */
const TURN_MS = 8;

/** One queue for the whole process: it has one event loop. */
const waiting: (() => void)[] = [];
/** The end of the time for readers in this turn of the event loop. */
let until: number | undefined;

/** Resolves when the caller may serve its reader. It must do its work at once, without waiting. */
export function nextReader(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    setImmediate(serve);
  });
}

/** The event loop calls this once for each reader that waits. */
function serve(): void {
  until ??= begin();
  if (performance.now() < until) waiting.shift()?.();
  else setImmediate(serve);
}

function begin(): number {
  setImmediate(end); // runs before the readers of the next turn
  return performance.now() + TURN_MS;
}

function end(): void {
  until = undefined;
}
