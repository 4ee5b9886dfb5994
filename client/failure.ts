/**
 * Errors of the client: a `SupervisorError` is a failure that the server reports,
 * with a reason of the contract; a `ConnectionError` means that the server could
 * not be reached, or that its answer was lost.
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

/** The failures that a client detects itself, in the contract's wording. */
const sentences = {
  kernel_exited: kernelExited,
  no_answer: noAnswer,
  session_not_found: sessionNotFound,
  session_replaced: sessionReplaced,
  unauthorized,
};

/** Makes the error that the server would report: `throw failure("no_answer", { session_id, why })`. */
export function failure<R extends keyof typeof sentences>(
  reason: R,
  details: DetailsOf<R>,
  options?: FailureOptions,
): SupervisorError {
  const sentence = sentences[reason] as (details: DetailsOf<R>) => string;
  return new SupervisorError(reason, sentence(details), options);
}

/** The server could not be reached, or its answer was lost. It is not known whether the server has carried out the request. */
export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
}

/** The kernel replied to a request with `status: "error"`. */
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

/** Whether the error is a failure with this reason. */
export function isBecause(
  reason: SupervisorError["reason"],
  error: unknown,
): error is SupervisorError {
  return error instanceof SupervisorError && error.reason === reason;
}

/** Makes a handler that ignores a failure with this reason, and throws every other error again. */
export function rethrowUnless(reason: SupervisorError["reason"]) {
  return (error: unknown): void => {
    if (!isBecause(reason, error)) throw error;
  };
}

/** Turns a `CallError` into the error that the caller gets. Other errors stay as they are. */
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
  // An answer of the server's HTTP layer, before tRPC.
  const httpBody = bodyIn(meta?.responseJSON);
  if (data?.failure === undefined && httpBody?.reason === "bad_request") {
    // The client sends valid requests, so this one was damaged on the way.
    const why = `it was damaged on the way (${httpBody.message})`;
    return new ConnectionError(`The request to the server failed: ${why}`, {
      cause: error,
    });
  }
  const body =
    bodyIn(data?.failure) ??
    httpBody ??
    bodyIn((meta?.responseJSON as { error?: unknown } | undefined)?.error);
  if (body !== undefined) {
    // The call's error is not its cause: it has the same message, and printing it prints a whole `Response`.
    return new SupervisorError(body.reason, body.message, {
      details: body.details,
      startup: data?.startup,
    });
  }
  // A newer server may have failures that this client does not know.
  if (typeof data?.code === "string") {
    return new SupervisorError("internal", error.message, { cause: error });
  }
  const status = meta?.response?.status;
  if (status === 401) return failure("unauthorized", {}, { cause: error });
  if (status === 403) {
    return new SupervisorError("forbidden", error.message, { cause: error });
  }
  if (isAbort(cause)) return cause;
  return new ConnectionError(
    `The request to the server failed: ${why(error)}`,
    {
      cause: error,
    },
  );
}

/** The members of a failure, if the value is one. */
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

/** The message of the deepest cause: the outermost is often only `fetch failed`. */
function why(error: Error): string {
  let deepest: Error = error;
  while (deepest.cause instanceof Error) deepest = deepest.cause;
  const code = (deepest as { code?: unknown }).code;
  return deepest.message === "" && typeof code === "string"
    ? code
    : deepest.message;
}
