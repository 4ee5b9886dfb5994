/**
 * What goes wrong, in two kinds: what the server says (`SupervisorError`, with
 * the reason of the contract), and what keeps us from hearing it
 * (`ConnectionError`).
 */
import type { DetailsOf } from "../contract/errors.ts";
import {
  type FailureOptions,
  isReason,
  type Startup,
  SupervisorError,
} from "../contract/reasons.ts";
import {
  kernelExited,
  noAnswer,
  sessionNotFound,
  sessionReplaced,
  unauthorized,
} from "../contract/sentences.ts";
import { CallError } from "./call.ts";

/** What a client finds out itself, in the contract's words. */
const sentences = {
  kernel_exited: kernelExited,
  no_answer: noAnswer,
  session_not_found: sessionNotFound,
  session_replaced: sessionReplaced,
  unauthorized,
};

/** As the server says it: `throw failure("no_answer", { session_id, why })`. */
export function failure<R extends keyof typeof sentences>(
  reason: R,
  details: DetailsOf<R>,
  options?: FailureOptions,
): SupervisorError {
  const word = sentences[reason] as (details: DetailsOf<R>) => string;
  return new SupervisorError(reason, word(details), options);
}

/** The server could not be asked, or what it answered was lost. Whether it did what was asked is not known. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** The kernel refused a request: what `status: "error"` in a reply says. */
export class KernelError extends Error {
  override readonly name = "KernelError";
  readonly ename: string;
  readonly evalue: string;
  readonly traceback: readonly string[];

  constructor(
    ename: string,
    evalue: string,
    traceback: readonly string[] = [],
  ) {
    super(`${ename}: ${evalue}`);
    this.ename = ename;
    this.evalue = evalue;
    this.traceback = traceback;
  }
}

/** Whether it failed for that reason of the contract. */
export function isBecause(
  reason: SupervisorError["reason"],
  error: unknown,
): error is SupervisorError {
  return error instanceof SupervisorError && error.reason === reason;
}

/** Lets that one failure pass; any other is thrown. */
export function rethrowUnless(reason: SupervisorError["reason"]) {
  return (error: unknown): void => {
    if (!isBecause(reason, error)) throw error;
  };
}

/** Any error of a call, as what it means here. Others pass as they are. */
export function toFailure(error: unknown): Error {
  if (!(error instanceof CallError)) {
    return error instanceof Error ? error : new Error(String(error));
  }
  const { cause, data, meta } = error as {
    cause?: unknown;
    data?: { failure?: unknown; startup?: Startup; code?: unknown } | null;
    meta?: { response?: { status?: number }; responseJSON?: unknown };
  };
  if (cause instanceof SupervisorError || cause instanceof ConnectionError) {
    return cause;
  }
  const atDoor = bodyIn(meta?.responseJSON);
  if (data?.failure === undefined && atDoor?.reason === "bad_request") {
    // Not what was asked, but how it arrived: the line broke it.
    const why = `what came to the server was broken on the way (${atDoor.message})`;
    return new ConnectionError(`The server could not be asked: ${why}`, {
      cause: error,
    });
  }
  const said =
    bodyIn(data?.failure) ??
    atDoor ??
    bodyIn((meta?.responseJSON as { error?: unknown } | undefined)?.error);
  if (said !== undefined) {
    // Without the call's error as its cause: that says the same once more, and prints a whole `Response`.
    return new SupervisorError(said.reason, said.message, {
      details: said.details,
      startup: data?.startup,
    });
  }
  // A server that is newer than we are may have failures that we do not know.
  if (typeof data?.code === "string") {
    return new SupervisorError("internal", error.message, { cause: error });
  }
  const status = meta?.response?.status;
  if (status === 401) return failure("unauthorized", {}, { cause: error });
  if (status === 403) {
    return new SupervisorError("forbidden", error.message, { cause: error });
  }
  if (isAbort(cause)) return cause;
  return new ConnectionError(`The server could not be asked: ${why(error)}`, {
    cause: error,
  });
}

/** What the server answers when it refuses, if it is that. */
function bodyIn(value: unknown) {
  const { reason, message, details } = (value ?? {}) as Record<string, unknown>;
  if (!isReason(reason) || typeof message !== "string") return undefined;
  return {
    reason,
    message,
    details: typeof details === "string" ? details : undefined,
  };
}

function isAbort(cause: unknown): cause is Error {
  return (
    cause instanceof Error &&
    (cause.name === "AbortError" || cause.name === "TimeoutError")
  );
}

/** `fetch failed` says nothing; its cause does. */
function why(error: Error): string {
  let deepest: Error = error;
  while (deepest.cause instanceof Error) deepest = deepest.cause;
  const code = (deepest as { code?: unknown }).code;
  return deepest.message === "" && typeof code === "string"
    ? code
    : deepest.message;
}
