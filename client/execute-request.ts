/** The options of an execution, and its request to the server. */
import type { Execution as Description } from "../contract/index.ts";
import type { ServerLink } from "./server-link.ts";
import type { OutboxMessage } from "./outbox.ts";

export interface ExecuteOptions {
  /** Whether to run without history and without publishing the value. */
  readonly silent?: boolean | undefined;
  /** Default: true, but false if `silent`. */
  readonly store_history?: boolean | undefined;
  /** Whether the code may request input. Default: true. A client must then `answer`, or the code waits for ever. */
  readonly allow_stdin?: boolean | undefined;
  /** Whether queued requests are dropped when this one fails. Default: true. */
  readonly stop_on_error?: boolean | undefined;
  /** Expressions by name, evaluated after the code; their values are in the reply. */
  readonly user_expressions?: Readonly<Record<string, string>> | undefined;
  /** The metadata of the request, such as a notebook's cell id. */
  readonly metadata?: Record<string, unknown> | undefined;
  /** Milliseconds from the acceptance by the server, with the wait in the queue. After them, the execution is interrupted, or leaves the queue. Default: no limit. */
  readonly deadline_ms?: number | undefined;
  /** An id of your own, so that you can repeat the call: if the server knows the id, this is that execution, and nothing runs twice. Default: a random UUID. */
  readonly execution_id?: string | undefined;
  /** Whether the result contains `outputs`. Default: true. For endless output, set it to false and read the events. */
  readonly collect?: boolean | undefined;
  /** Interrupts the code, and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** The request to the server. It may be sent again: by its id, the server runs it once. */
export function executeRequest(
  link: ServerLink,
  request: {
    readonly session_id: string;
    readonly execution_id: string;
    readonly code: string;
    readonly journal_id?: string;
  },
  options: ExecuteOptions,
): OutboxMessage<Pick<Description, "first_seq">> {
  const { silent = false, metadata = {}, deadline_ms } = options;
  const { store_history = !silent, allow_stdin = true } = options;
  const { stop_on_error = true, user_expressions = {} } = options;
  const input = {
    ...request,
    silent,
    store_history,
    allow_stdin,
    stop_on_error,
    user_expressions,
    metadata,
    ...(deadline_ms !== undefined && { deadline_ms }),
  };
  return {
    id: request.execution_id,
    size: request.code.length + JSON.stringify(metadata).length,
    transmit: (signal) =>
      link.result(link.trpc.executions.create.mutate(input, { signal })),
  };
}
