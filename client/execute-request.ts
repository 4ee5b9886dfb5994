/** How code is asked to be run. */
import type { Execution as Description } from "../contract/index.ts";
import type { ServerLink } from "./server-link.ts";
import type { OutboxMessage } from "./outbox.ts";

export interface ExecuteOptions {
  /** No outputs of the result, no history. */
  readonly silent?: boolean | undefined;
  /** True unless `silent`. */
  readonly store_history?: boolean | undefined;
  /** Whether the code may ask for input; true unless said. Somebody then has to `answer`, or the code waits for ever. */
  readonly allow_stdin?: boolean | undefined;
  /** Whether requests that wait are dropped when this one fails; true unless said. */
  readonly stop_on_error?: boolean | undefined;
  /** Expressions to be evaluated after the code, by name; their values are in the reply. */
  readonly user_expressions?: Readonly<Record<string, string>> | undefined;
  /** Travels with the request, such as a notebook's cell id. */
  readonly metadata?: Record<string, unknown> | undefined;
  /** Milliseconds from its acceptance by the server on, the wait in the queue included. Then it is interrupted, or leaves the queue. No bound where absent. */
  readonly deadline_ms?: number | undefined;
  /** Of your own, to be able to repeat yourself: where the server knows it, that execution is taken up, and nothing runs twice. */
  readonly execution_id?: string | undefined;
  /** Whether `outputs` are kept for whoever awaits; true unless said. For output without end, listen instead. */
  readonly collect?: boolean | undefined;
  /** Interrupts the code, and rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

/** As it goes to the server: once, by its id, however often it is sent. */
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
  const asked = {
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
      link.ask(link.trpc.executions.create.mutate(asked, { signal })),
  };
}
