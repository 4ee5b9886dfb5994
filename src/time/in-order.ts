/**
 * Reads the messages of one client in short steps, one after the other. While
 * other clients are served, the client's socket is paused.
 */
import { requestScheduler } from "./request-scheduler.ts";

/** The part of a socket that is used here. */
interface Pausable {
  pause(): void;
  resume(): void;
}

/** Returns a function that runs each piece of work after the earlier ones. Work must not throw. */
export function inOrder(
  socket: Pausable,
): (work: Generator<void, void>) => void {
  const queue: Generator<void, void>[] = [];
  let isWaiting = false;
  const step = (work: Generator<void, void>): void => {
    if (work.next().done === true) queue.shift();
  };
  const runQueued = (): void => {
    for (;;) {
      const [work] = queue;
      if (work === undefined) return;
      const wait = requestScheduler.next();
      if (wait !== undefined) {
        waitUntil(wait);
        return;
      }
      step(work);
    }
  };
  const waitUntil = (scheduled: Promise<void>): void => {
    if (!isWaiting) socket.pause();
    isWaiting = true;
    void scheduled.then(() => {
      const [work] = queue;
      if (work !== undefined) step(work);
      if (queue.length > 0)
        waitUntil(requestScheduler.next() ?? Promise.resolve());
      else {
        isWaiting = false;
        socket.resume();
      }
    });
  };
  return (work) => {
    queue.push(work);
    if (!isWaiting) runQueued();
  };
}
