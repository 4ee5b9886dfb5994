/**
 * An execution that existed before this client requested it. Its events and its
 * result are read from the server by its id, and only when the program needs them.
 */
import { isOver } from "../contract/execution-end.ts";
import type { Execution as Description } from "../contract/index.ts";
import type { SessionEvent } from "./events.ts";
import { type ExecutionEvent, toEventOf } from "./execution-event.ts";
import {
  type ExecutionResult,
  NOTHING_KEPT,
  sessionReplaced,
} from "./execution-result.ts";
import { fetchDescription } from "./executions.ts";
import { failure } from "./failure.ts";
import type { Feed } from "./feed.ts";
import {
  type KnownExecution,
  applyDescription,
  applyEvent,
  resultIn,
  markAnswered,
} from "./known-execution.ts";
import { BEGINNING, read, subscribe } from "./reader.ts";
import { deferred, unlessAborted } from "./wait.ts";

export interface AttachOptions {
  /** Whether the result contains `outputs`, which are fetched for it. Default: true. */
  readonly collect?: boolean | undefined;
  /** Ends the wait and the loop with the signal's reason. The code goes on. */
  readonly signal?: AbortSignal | undefined;
}

export interface FoundExecution {
  /** Its events, from its beginning to its end. Throws `kernel_exited` if its kernel ended while it ran. */
  events(): AsyncGenerator<ExecutionEvent, void>;
  /** How it ended, with its outputs if `collect` is true. */
  result(): Promise<ExecutionResult>;
}

/** Stores what it learns in `known`. Calls `over` when the execution is over. */
export function foundExecution(
  feed: Feed,
  known: KnownExecution,
  options: AttachOptions,
  over: () => void,
): FoundExecution {
  const { link } = feed;
  const { id } = known;
  const { session_id } = id;

  const refresh = async (signal: AbortSignal): Promise<Description> => {
    const description = await fetchDescription(link, id, signal);
    applyDescription(known, description);
    return description;
  };
  const receive = (event: SessionEvent): ExecutionEvent | undefined => {
    if (event.kind === "journal") throw sessionReplaced(session_id, true);
    const own = toEventOf(event, id.execution_id);
    if (own !== undefined) applyEvent(known, own);
    return own;
  };
  /** Follows it to its end, through lost connections, without a time limit. */
  const follow = (after: number, signal: AbortSignal): Promise<undefined> => {
    const { promise, resolve, reject } = deferred<undefined>();
    const position = { ...BEGINNING, seq: after };
    const stop = subscribe(link, id, position, {
      onEvent: receive,
      ended: (error) =>
        error === undefined ? resolve(undefined) : reject(error),
    });
    return unlessAborted(promise, signal).finally(stop);
  };
  /** Resolves when it is known how it ended. */
  const untilOver = async (signal: AbortSignal): Promise<void> => {
    if (known.end === undefined) {
      const { state, last_seq } = await refresh(signal);
      if (!isOver(state)) await follow(last_seq ?? 0, signal);
    }
    // The event of its end was in a gap, or was not received.
    if (known.end === undefined) await refresh(signal);
    if (known.end === undefined) {
      const why = "before the server was shut down";
      throw failure("no_answer", { session_id, why });
    }
    over();
  };

  return {
    async *events() {
      const { signal, leave } = attach(feed, options);
      try {
        const { last_seq, input_request } = await refresh(signal);
        markAnswered(known, (input_request?.seq ?? (last_seq ?? 0) + 1) - 1);
        known.receivesAll = true; // from now on
        const all = read(link, id, { after: BEGINNING, signal });
        for await (const event of all) {
          const own = receive(event);
          if (own !== undefined) yield own;
        }
        await untilOver(signal);
        resultIn(known, NOTHING_KEPT);
      } finally {
        leave();
      }
    },
    async result() {
      const { signal, leave } = attach(feed, options);
      try {
        await untilOver(signal);
        const result = resultIn(known, NOTHING_KEPT);
        if (options.collect === false) return result;
        const { outputs, gaps, is_clipped, clipped, refused } =
          await unlessAborted(
            link.retry(() => link.trpc.executions.outputs.query(id)),
            signal,
          );
        const kept = { outputs, gaps, is_clipped, clipped, refused };
        return resultIn(known, kept);
      } finally {
        leave();
      }
    },
  };
}

/** A signal that aborts with `signal`, when the client detaches from the session, or when the session is gone. */
function attach(feed: Feed, { signal }: AttachOptions) {
  const detached = new AbortController();
  const abort = () => detached.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted === true) abort();
  const unlisten = feed.listen({
    onEvent() {},
    ended: (error) => detached.abort(error),
  });
  return {
    signal: detached.signal,
    leave: () => {
      unlisten();
      signal?.removeEventListener("abort", abort);
    },
  };
}
