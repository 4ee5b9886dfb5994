/**
 * An execution that is read by reference: it was there before this client asked
 * for it. Nothing is asked of the server before somebody wants to know
 * something.
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
import { askKnown } from "./executions.ts";
import { failure } from "./failure.ts";
import type { Feed } from "./feed.ts";
import {
  type KnownExecution,
  applyDescription,
  applyEvent,
  resultIn,
  settle,
} from "./known-execution.ts";
import { BEGINNING, read, subscribe } from "./reader.ts";
import { deferred, unlessAborted } from "./wait.ts";

export interface AttachOptions {
  /** Whether `outputs` are fetched for a program that awaits the result. Default: true. */
  readonly collect?: boolean | undefined;
  /** Ends the waiting and the listening here, with the signal's reason. The code goes on. */
  readonly signal?: AbortSignal | undefined;
}

export interface FoundExecution {
  /** What it says, from its beginning to its end. Throws `kernel_exited` where its kernel went away under it. */
  events(): AsyncGenerator<ExecutionEvent, void>;
  /** How it ended, with its outputs where they are collected. */
  result(): Promise<ExecutionResult>;
}

/** What is learned of it goes into `known`; `over` is called once it is over. */
export function foundExecution(
  feed: Feed,
  known: KnownExecution,
  options: AttachOptions,
  over: () => void,
): FoundExecution {
  const { link } = feed;
  const { id } = known;
  const { session_id } = id;

  const learnNow = async (signal: AbortSignal): Promise<Description> => {
    const described = await askKnown(link, id, signal);
    applyDescription(known, described);
    return described;
  };
  const receive = (event: SessionEvent): ExecutionEvent | undefined => {
    if (event.kind === "journal") throw sessionReplaced(session_id, true);
    const said = toEventOf(event, id.execution_id);
    if (said !== undefined) applyEvent(known, said);
    return said;
  };
  /** Follows it for its end alone: that is heard through lost connections, however long it takes. */
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
      const { state, last_seq } = await learnNow(signal);
      if (!isOver(state)) await follow(last_seq ?? 0, signal);
    }
    // It fell into a gap, or was never heard.
    if (known.end === undefined) await learnNow(signal);
    if (known.end === undefined) {
      const why = "to its end: the server ends";
      throw failure("no_answer", { session_id, why });
    }
    over();
  };

  return {
    async *events() {
      const { signal, leave } = attach(feed, options);
      try {
        const { last_seq, input_request } = await learnNow(signal);
        settle(known, (input_request?.seq ?? (last_seq ?? 0) + 1) - 1);
        known.isLive = true; // from here on
        const all = read(link, id, { after: BEGINNING, signal });
        for await (const event of all) {
          const said = receive(event);
          if (said !== undefined) yield said;
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

/** A signal that aborts when nobody is to be kept waiting any more: with the execution's own, or when the session is detached from, or gone. */
function attach(feed: Feed, { signal }: AttachOptions) {
  const left = new AbortController();
  const abort = () => left.abort(signal?.reason);
  signal?.addEventListener("abort", abort);
  if (signal?.aborted === true) abort();
  const unlisten = feed.listen({
    onEvent() {},
    ended: (error) => left.abort(error),
  });
  return {
    signal: left.signal,
    leave: () => {
      unlisten();
      signal?.removeEventListener("abort", abort);
    },
  };
}
