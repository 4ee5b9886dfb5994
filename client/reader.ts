/**
 * A reader of a session's journal with its own position. It reads all events, or
 * those of one execution.
 *
 * A slow reader uses a limited amount of memory: when too much waits, the
 * subscription stops, and continues from the same position when the reader has
 * taken what waits. Nothing is lost, because the journal keeps it.
 */
import {
  fromPosition,
  type Position,
  toPosition,
} from "../contract/position.ts";
import { type SessionEvent, toEvent, weightOf } from "./events.ts";
import { isRecord } from "./frames.ts";
import type { ServerLink } from "./server-link.ts";
import { Queue } from "./queue.ts";

/** The limit of what waits for the reader; estimated bytes. */
const MAX_WAITING = 8 * 1024 * 1024;

/** What is read: a session, or one execution to its end. */
export interface Source {
  readonly session_id: string;
  readonly execution_id?: string | undefined;
}

export interface ReadOptions {
  /** Begins after this position. */
  readonly after: Position;
  readonly signal?: AbortSignal | undefined;
}

/** The beginning of what is kept, of any journal. */
export const BEGINNING: Position = { journal_id: undefined, seq: 0 };

/** Ends when the session is deleted or the execution ends. Throws the failure that ended it, or `signal`'s reason. */
export async function* read(
  link: ServerLink,
  source: Source,
  { after, signal }: ReadOptions,
): AsyncGenerator<SessionEvent, void> {
  signal?.throwIfAborted();
  let seen = after;
  const reading = { isOver: false };
  while (!reading.isOver) {
    const waiting = new Queue<SessionEvent>(MAX_WAITING);
    const stop = subscribe(link, source, seen, {
      onEvent(event, position) {
        seen = position;
        if (waiting.push(event, weightOf(event))) return;
        stop(); // until this has been taken
        waiting.end();
      },
      ended(error) {
        reading.isOver = true;
        waiting.end(error);
      },
    });
    try {
      yield* waiting.take(signal);
    } finally {
      stop();
    }
  }
}

export interface Listener {
  /** `position`: the reader's position after the event. */
  onEvent(event: SessionEvent, position: Position): void;
  /** Called once and last, but not after the reader has stopped. Without an error: the session was deleted, or the execution has ended. */
  ended(error: Error | undefined): void;
}

/** Receives all events after a position, through reconnections. Returns a function that stops it. */
export function subscribe(
  link: ServerLink,
  source: Source,
  after: Position,
  listener: Listener,
): () => void {
  let seen = after;
  let isOver = false;
  const end = (error: Error | undefined) => {
    if (isOver) return;
    isOver = true;
    listener.ended(error);
  };
  const { sessions, executions } = link.trpc;
  const { session_id, execution_id } = source;
  const isWhole = execution_id === undefined;
  const handlers = {
    onData(tracked: unknown) {
      try {
        const { id, data } = isRecord(tracked) ? tracked : {};
        const position = positionIn(id);
        for (const event of eventsIn(data, position, seen, isWhole)) {
          if (isOver) return; // the listener has stopped at an earlier event
          seen = positionAfter(event, seen, position);
          listener.onEvent(event, seen);
        }
      } catch (error) {
        end(link.failureIn(error)); // no caller could catch it
      }
    },
    onError: (error: unknown) => end(link.failureIn(error)),
    onComplete: () =>
      end(
        link.connection.state === "closed"
          ? link.connection.closure
          : undefined,
      ),
  };
  const lastEventId = fromPosition(after);
  const subscription = isWhole
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

/**
 * The new events in received data: none if it arrives twice after a reconnection.
 * In the whole journal, skipped numbers become a gap.
 */
function* eventsIn(
  data: unknown,
  position: Position | undefined,
  { journal_id, seq: seen }: Position,
  isWhole: boolean,
): Generator<SessionEvent, void> {
  const event = toEvent(data, Math.max(position?.seq ?? 0, seen));
  if (event.kind === "journal") {
    if (event.journal_id !== journal_id) yield event;
    return;
  }
  if (event.kind !== "unreadable" && event.seq <= seen) return;
  const first = event.kind === "gap" ? event.from : event.seq;
  if (isWhole && first > seen + 1) {
    const to = first - 1;
    yield { kind: "gap", seq: to, from: seen + 1, to };
  }
  yield event;
}

/** The reader's position after the event. */
function positionAfter(
  event: SessionEvent,
  { journal_id, seq }: Position,
  position: Position | undefined,
): Position {
  if (event.kind === "journal") return { journal_id: event.journal_id, seq: 0 };
  return {
    journal_id: journal_id ?? position?.journal_id,
    seq: Math.max(seq, event.seq),
  };
}

function positionIn(id: unknown): Position | undefined {
  try {
    return typeof id === "string" ? toPosition(id) : undefined;
  } catch {
    return undefined; // not a position: the event has its own number
  }
}
