/**
 * A reader of a session's journal with a place of its own: of all of it, or of
 * what one execution says there.
 *
 * Whoever takes its time costs a bounded amount of memory: when too much
 * waits, we stop listening, and go on from the same place once it has been
 * taken. Nothing is lost, because the journal keeps it.
 */
import type { SessionEvent as WireEvent } from "../contract/index.ts";
import { type SessionEvent, toEvent, weightOf } from "./events.ts";
import type { Line } from "./line.ts";

/** What may wait for whoever reads; estimated bytes. */
const MOST_WAITING = 8 * 1024 * 1024;

/** What is read. Of an execution, to its end. */
export interface Source {
  readonly session_id: string;
  readonly execution_id?: string | undefined;
}

export interface ReadOptions {
  /** Begins after this number; 0 for everything that is kept. */
  readonly after: number;
  readonly signal?: AbortSignal | undefined;
}

/** Ends when the session is deleted, or the execution over. Throws the failure that ended it, or `signal`'s reason. */
export async function* read(
  line: Line,
  source: Source,
  { after, signal }: ReadOptions,
): AsyncGenerator<SessionEvent, void> {
  signal?.throwIfAborted();
  let seen = after;
  let waiting: SessionEvent[] = [];
  let weight = 0;
  let end: { readonly error: Error | undefined } | undefined;
  let wake = () => {};
  let stop: (() => void) | undefined;

  const listen = () => {
    stop = subscribe(line, source, seen, {
      heard(event) {
        seen = event.seq;
        waiting.push(event);
        weight += weightOf(event);
        if (weight > MOST_WAITING) pause();
        wake();
      },
      ended(error) {
        end = { error };
        wake();
      },
    });
  };
  const pause = () => {
    const stopNow = stop;
    stop = undefined;
    stopNow?.();
  };
  const abort = () => wake();

  signal?.addEventListener("abort", abort);
  try {
    listen();
    for (;;) {
      const taken = waiting;
      waiting = [];
      weight = 0;
      for (const event of taken) {
        yield event;
        signal?.throwIfAborted();
      }
      if (waiting.length > 0) continue;
      if (end !== undefined) {
        if (end.error !== undefined) throw end.error;
        return;
      }
      if (stop === undefined) listen();
      await new Promise<void>((resolve) => {
        wake = resolve;
        if (waiting.length > 0 || end !== undefined || signal?.aborted) {
          resolve();
        }
      });
      signal?.throwIfAborted();
    }
  } finally {
    signal?.removeEventListener("abort", abort);
    pause();
  }
}

export interface Listener {
  heard(event: SessionEvent): void;
  /** Once, and last. Without an error: the session was deleted, or the execution is over. Not called after it was stopped. */
  ended(error: Error | undefined): void;
}

/** Hears everything after number `after`, through reconnections. Returns what stops it. */
export function subscribe(
  line: Line,
  source: Source,
  after: number,
  listener: Listener,
): () => void {
  let seen = after;
  let isOver = false;
  const end = (error: Error | undefined) => {
    if (isOver) return;
    isOver = true;
    listener.ended(error);
  };
  const handlers = {
    onData({ data }: { readonly data: WireEvent }) {
      // What comes twice after a reconnection was heard the first time.
      if (isOver || data.seq <= seen) return;
      seen = data.seq;
      listener.heard(toEvent(data));
    },
    onError: (error: unknown) => end(line.failureIn(error)),
    onComplete: () =>
      end(
        line.connection.state === "closed"
          ? line.connection.closure
          : undefined,
      ),
  };
  const { sessions, executions } = line.trpc;
  const { session_id, execution_id } = source;
  const lastEventId = String(after);
  const subscription =
    execution_id === undefined
      ? sessions.events.subscribe({ session_id, lastEventId }, handlers)
      : executions.follow.subscribe(
          { session_id, execution_id, lastEventId },
          handlers,
        );
  return () => {
    isOver = true;
    subscription.unsubscribe();
  };
}
