/** The result of an execution. An error in the code is a result, not a failure; it is a failure if the kernel could not answer. */
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

/** Numbers of events that the journal no longer keeps. */
export interface Gap {
  readonly from: number;
  readonly to: number;
}

export interface Ended {
  /** The `msg_id` of the `execute_request`, which is the execution's id. */
  readonly msg_id: string;
  readonly execution_count: number | null;
  /** In the form of nbformat. */
  readonly outputs: readonly Output[];
  /** The value of the last expression, if it has one. */
  readonly result: MimeBundle | undefined;
  /** The content of the kernel's reply. */
  readonly reply: Readonly<Record<string, unknown>>;
  /** Why it did not run to its own end; null if it did, or if the server no longer knows. */
  readonly reason: EndReason | null;
  /** Output of these events may be missing in `outputs`. */
  readonly gaps: readonly Gap[];
  /** Whether there was more than 64 MiB of `outputs`, and the rest was left out. */
  readonly is_clipped: boolean;
  /** How much was left out; null if nothing was. */
  readonly clipped: Clipped | null;
  /** Messages of the kernel that the server could not accept. They are missing in `outputs`, or one is the reply. */
  readonly refused: readonly Refused[];
}

/** `aborted`: the code did not run. `reason` says why the code did not run, or why it was ended. */
export type ExecutionResult =
  | (Ended & { readonly status: "ok" | "aborted"; readonly error?: undefined })
  | (Ended & { readonly status: "error"; readonly error: CodeError });

export interface CodeError {
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];
}

/** The kept output, and the record of what is missing in it. */
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

/** The facts about an execution that is over. */
interface Outcome extends Kept {
  readonly msg_id: string;
  readonly reply: Readonly<Record<string, unknown>>;
  /** Default: the status in the reply. */
  readonly status?: ReplyStatus | undefined;
  readonly reason: EndReason | null;
}

export function resultOf({ status, ...outcome }: Outcome): ExecutionResult {
  const { reply, outputs } = outcome;
  const ended = {
    ...outcome,
    execution_count: countIn(reply),
    result: outputs.findLast(isResult)?.data,
  };
  status ??= statusIn(reply);
  if (status !== "error") return { ...ended, status };
  // If the reply was too long or did not arrive, the published error has the same members.
  const failed = Array.isArray(reply["traceback"])
    ? reply
    : (outputs.findLast(isError) ?? reply);
  return { ...ended, status, error: errorIn(failed) };
}

/** The result of an execution that was withdrawn before it was sent. */
export function withdrawn(msg_id: string): ExecutionResult {
  const reason = "cancelled";
  const reply = { status: "aborted", reason };
  return resultOf({ ...NOTHING_KEPT, msg_id, reply, reason });
}

/** The error of an execution whose session was replaced by another one with the same id. */
export function sessionReplaced(
  session_id: string,
  mayHaveRun: boolean,
): SupervisorError {
  const why = mayHaveRun
    ? "the code may have run in the earlier session; its result is not known"
    : "the code has not run";
  return failure("session_replaced", { session_id, why });
}

/** The error of an execution whose kernel ended while it ran. */
export function kernelExited(
  session_id: string,
  reply: Readonly<Record<string, unknown>> | null,
): SupervisorError {
  const evalue = reply?.["evalue"];
  const why = typeof evalue === "string" ? evalue : "the reason is not known";
  return failure("kernel_exited", { session_id, why });
}

/** The status in the reply; without a reply, the status that the state implies. */
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
