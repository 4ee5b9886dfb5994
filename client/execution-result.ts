/** How code ended. An error in the code is an outcome, not a failure: what fails is that nobody can answer any more. */
import type {
  Clipped,
  ExecutionState,
  MimeBundle,
  Output,
  Refused,
} from "../contract/index.ts";
import { type SupervisorError } from "../contract/reasons.ts";
import { countIn, errorIn } from "../outputs/outputs.ts";
import {
  type EndReason,
  type ReplyStatus,
  statusIn,
} from "./execution-event.ts";
import { failure } from "./failure.ts";

/** Numbers of the journal that are no longer kept. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

export interface Ended {
  /** Of the `execute_request`: the execution's id. */
  readonly msg_id: string;
  readonly execution_count: number | null;
  /** In nbformat's shapes. */
  readonly outputs: readonly Output[];
  /** What the last expression gave, where it gave something. */
  readonly result: MimeBundle | undefined;
  /** The content of the kernel's reply. */
  readonly reply: Readonly<Record<string, unknown>>;
  /** Why it did not come to an end of its own; null where it did, or where the server no longer knows. */
  readonly reason: EndReason | null;
  /** What was said there may be missing in `outputs`. */
  readonly gaps: readonly Gap[];
  /** Whether `outputs` came to more than 64 MiB, and the rest was left out. */
  readonly is_clipped: boolean;
  /** How much that was; null where nothing was left out. */
  readonly clipped: Clipped | null;
  /** What the kernel sent and the server could not accept: it is missing in `outputs`, or is its reply. */
  readonly refused: readonly Refused[];
}

/** `aborted`: it did not run. `reason` says why, and also what ended code that ran. */
export type ExecutionResult =
  | (Ended & { readonly status: "ok" | "aborted"; readonly error?: undefined })
  | (Ended & { readonly status: "error"; readonly error: CodeError });

export interface CodeError {
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}

/** What was kept of what it said. */
export type Kept = Pick<
  Ended,
  "outputs" | "gaps" | "is_clipped" | "clipped" | "refused"
>;

export const NOTHING_KEPT: Kept = {
  outputs: [],
  gaps: [],
  is_clipped: false,
  clipped: null,
  refused: [],
};

/** What is known when it is over. */
interface Known extends Kept {
  readonly msg_id: string;
  readonly reply: Readonly<Record<string, unknown>>;
  /** Where that is not what the reply says. */
  readonly status?: ReplyStatus | undefined;
  readonly reason: EndReason | null;
}

export function resultOf({ status, ...known }: Known): ExecutionResult {
  const { reply, outputs } = known;
  const ended = {
    ...known,
    execution_count: countIn(reply),
    result: outputs.findLast(isResult)?.data,
  };
  status ??= statusIn(reply);
  if (status !== "error") return { ...ended, status };
  // A reply that was too long, or never came, is told by the error that was shown.
  const told = Array.isArray(reply["traceback"])
    ? reply
    : (outputs.findLast(isError) ?? reply);
  return { ...ended, status, error: errorIn(told) };
}

/** The outcome of what was taken back before it was sent. */
export function withdrawn(msg_id: string): ExecutionResult {
  const reason = "cancelled";
  const reply = { status: "aborted", reason };
  return resultOf({ ...NOTHING_KEPT, msg_id, reply, reason });
}

/** The session is not the one that it was begun in. */
export function sessionReplaced(
  session_id: string,
  mayHaveRun: boolean,
): SupervisorError {
  const why = mayHaveRun
    ? "the code had been sent to the one before, and may have run there; how it ended is not known"
    : "the code was not sent to the one before, and has not run";
  return failure("session_replaced", { session_id, why });
}

/** The kernel went away under it. */
export function kernelExited(
  session_id: string,
  reply: Readonly<Record<string, unknown>> | null,
): SupervisorError {
  const said = reply?.["evalue"];
  const why = typeof said === "string" ? said : "it did not say how";
  return failure("kernel_exited", { session_id, why });
}

/** What the state says where no reply does. */
export function statusOf({
  state,
  reply,
}: {
  readonly state: ExecutionState;
  readonly reply: Readonly<Record<string, unknown>>;
}): ReplyStatus {
  if ("status" in reply) return statusIn(reply);
  if (state === "done") return "ok";
  return state === "aborted" ? "aborted" : "error";
}

type OutputOf<T extends Output["output_type"]> = Extract<
  Output,
  { output_type: T }
>;

function isResult(output: Output): output is OutputOf<"execute_result"> {
  return output.output_type === "execute_result";
}

function isError(output: Output): output is OutputOf<"error"> {
  return output.output_type === "error";
}
