/** The executions of one session, as the server knows them, of all clients and interfaces. */
import type { Execution as Description } from "../contract/index.ts";
import { isMessage, toEvent } from "./events.ts";
import { type InputRequest, toInputRequest } from "./execution-event.ts";
import type { CallOptions, ServerLink } from "./server-link.ts";
import { unlessAborted } from "./wait.ts";

/** An execution at one moment. */
export type ExecutionInfo = Readonly<Omit<Description, "input_request">> & {
  /** Its open input request, while it waits for an answer. */
  readonly input_request: InputRequest | null;
};

export interface ExecutionList {
  /** The executions that wait or run, and the last hundred that are over, in the order of their acceptance. Long code is clipped (`code_is_clipped`); large metadata (`metadata_is_left_out`) and all replies are left out. */
  readonly executions: readonly ExecutionInfo[];
  /** The number of executions that are no longer kept. */
  readonly forgotten: number;
}

export interface ExecutionId {
  readonly session_id: string;
  readonly execution_id: string;
}

/** The executions of one session, as the server knows them. */
export class Executions {
  readonly #link: ServerLink;
  readonly #session_id: string;

  constructor(link: ServerLink, session_id: string) {
    this.#link = link;
    this.#session_id = session_id;
  }

  async list(options: CallOptions = {}): Promise<ExecutionList> {
    const { trpc } = this.#link;
    const session_id = this.#session_id;
    const { executions, forgotten } = await this.#link.result(
      trpc.executions.list.query({ session_id }, options),
      options,
    );
    return { executions: executions.map(toInfo), forgotten };
  }

  /** Rejects with `execution_not_found` if it does not exist, or is no longer kept. */
  get(execution_id: string, options?: CallOptions): Promise<ExecutionInfo> {
    const id = { session_id: this.#session_id, execution_id };
    return fetchInfo(this.#link, id, options);
  }
}

export async function fetchInfo(
  link: ServerLink,
  id: ExecutionId,
  options: CallOptions = {},
): Promise<ExecutionInfo> {
  const { executions } = link.trpc;
  return toInfo(await link.result(executions.get.query(id, options), options));
}

/** The server's description of an execution; repeats the query if the connection is lost. */
export function fetchDescription(
  link: ServerLink,
  id: ExecutionId,
  signal?: AbortSignal,
): Promise<Description> {
  return unlessAborted(
    link.retry(() => link.trpc.executions.get.query(id)),
    signal,
  );
}

/** server → client */
export function toInfo({ input_request, ...rest }: Description): ExecutionInfo {
  return { ...rest, input_request: inputRequestOf(input_request) };
}

export function inputRequestOf(
  message: Description["input_request"],
): InputRequest | null {
  if (message === null) return null;
  const event = toEvent(message, 0);
  return isMessage(event) ? toInputRequest(event) : null;
}
