/** The executions of one session, as the server knows them: whoever asked for them, by whichever door. */
import type { Execution as Description } from "../contract/index.ts";
import { isMessage, toEvent } from "./events.ts";
import { type InputRequest, toInputRequest } from "./execution-event.ts";
import type { CallOptions, ServerLink } from "./server-link.ts";
import { unlessAborted } from "./wait.ts";

/** An execution at one moment. */
export type ExecutionInfo = Readonly<Omit<Description, "input_request">> & {
  /** What it asks, while it waits for an answer. */
  readonly input_request: InputRequest | null;
};

export interface ExecutionList {
  /** Those that wait or run, and the last hundred that are over, in the order of their acceptance. Long code is clipped (`code_is_clipped`); large metadata (`metadata_is_left_out`) and all replies are left out. */
  readonly executions: readonly ExecutionInfo[];
  /** How many are no longer kept. */
  readonly forgotten: number;
}

/** Which execution is meant. */
export interface ExecutionId {
  readonly session_id: string;
  readonly execution_id: string;
}

/** The executions of one session, as the server knows them. */
export class Executions {
  readonly #line: ServerLink;
  readonly #session_id: string;

  constructor(line: ServerLink, session_id: string) {
    this.#line = line;
    this.#session_id = session_id;
  }

  async list(options: CallOptions = {}): Promise<ExecutionList> {
    const { executions: asked } = this.#line.trpc;
    const session_id = this.#session_id;
    const { executions, forgotten } = await this.#line.ask(
      asked.list.query({ session_id }, options),
      options,
    );
    return { executions: executions.map(toInfo), forgotten };
  }

  /** Rejects with `execution_not_found` where there is none, or it is no longer kept. */
  get(execution_id: string, options?: CallOptions): Promise<ExecutionInfo> {
    const id = { session_id: this.#session_id, execution_id };
    return askInfo(this.#line, id, options);
  }
}

export async function askInfo(
  line: ServerLink,
  id: ExecutionId,
  options: CallOptions = {},
): Promise<ExecutionInfo> {
  const { executions } = line.trpc;
  return toInfo(await line.ask(executions.get.query(id, options), options));
}

/** What the server knows of one, through lost connections. */
export function askKnown(
  line: ServerLink,
  id: ExecutionId,
  signal?: AbortSignal,
): Promise<Description> {
  return unlessAborted(
    line.retry(() => line.trpc.executions.get.query(id)),
    signal,
  );
}

/** server → client */
export function toInfo({ input_request, ...rest }: Description): ExecutionInfo {
  return { ...rest, input_request: inputRequestOf(input_request) };
}

export function inputRequestOf(
  question: Description["input_request"],
): InputRequest | null {
  if (question === null) return null;
  const event = toEvent(question, 0);
  return isMessage(event) ? toInputRequest(event) : null;
}
