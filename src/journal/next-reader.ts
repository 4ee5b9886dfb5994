/**
 * Whose turn it is to carry entries to a reader.
 *
 * A kernel that is not listened to in time drops what it says: its PUB socket
 * holds a thousand messages, as ZeroMQ would have it. A reader can wait: the
 * journal keeps everything. So readers are served one after the other in a part
 * of each turn of the event loop, and who comes too late for it is first in the
 * next. However many they are, kernels are listened to in between.
 */

/** How long readers are served in one turn of the event loop: as long as one kernel is listened to in it. */
const TURN_MS = 8;

/** One queue for the whole process: it has one event loop. */
const waiting: (() => void)[] = [];
/** Until when readers are served in this turn of the loop. */
let until: number | undefined;

/** Resolves when it is the caller's turn. What it then does at once is in it. */
export function nextReader(): Promise<void> {
  return new Promise((resolve) => {
    waiting.push(resolve);
    setImmediate(serve);
  });
}

/** Stands in the queue of the event loop once for each reader that waits. */
function serve(): void {
  until ??= begin();
  if (performance.now() < until) waiting.shift()?.();
  else setImmediate(serve);
}

function begin(): number {
  setImmediate(end); // before everything else that stands there in the next turn
  return performance.now() + TURN_MS;
}

function end(): void {
  until = undefined;
}
