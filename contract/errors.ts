/**
 * Everything that can go wrong, named once.
 *
 * Each entry is a promise to callers: the reason to switch on, the code that
 * Kallichore clients already know (`KS-n`; our own codes are words), the HTTP
 * status, and the sentence a person reads. Add at the end; a code, once
 * shipped, keeps its meaning.
 */
import * as z from "zod";

interface InSession {
  session_id: string;
}
interface Because extends InSession {
  why: string;
}
interface Why {
  why: string;
}

export const errors = {
  session_exists: entry(
    "KS-0",
    400,
    ({ session_id }: InSession) =>
      `Session ${session_id} already exists: delete it first, or choose another id`,
  ),
  session_not_found: entry(
    "KS-1",
    404,
    ({ session_id }: InSession) => `There is no session ${session_id}`,
  ),
  session_running: entry(
    "KS-2",
    400,
    ({ session_id }: InSession) =>
      `Session ${session_id} has a running kernel: stop it first`,
  ),
  session_not_running: entry(
    "KS-3",
    400,
    ({ session_id }: InSession) =>
      `Session ${session_id} has no running kernel`,
  ),
  process_not_found: entry(
    "KS-4",
    400,
    ({ session_id, why }: Because) =>
      `The kernel process of session ${session_id} could not be signalled: ${why}`,
  ),
  start_failed: entry(
    "KS-5",
    500,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} could not be started: ${why}`,
  ),
  connection_failed: entry(
    "KS-6",
    500,
    ({ session_id, why }: Because) =>
      `No connection to the kernel of session ${session_id}: ${why}`,
  ),
  connection_timeout: entry(
    "KS-7",
    500,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} did not answer in time: ${why}`,
  ),
  exited_during_start: entry(
    "KS-8",
    500,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} exited while it started (${why})`,
  ),
  interrupt_failed: entry(
    "KS-10",
    400,
    ({ session_id, why }: Because) =>
      `Session ${session_id} cannot be interrupted: ${why}`,
  ),
  no_process: entry(
    "KS-12",
    400,
    ({ session_id }: InSession) =>
      `Session ${session_id} has no process that is ours to signal`,
  ),
  restart_failed: entry(
    "KS-13",
    500,
    ({ session_id, why }: Because) =>
      `Session ${session_id} cannot be restarted: ${why}`,
  ),
  exited_before_handshake: entry(
    "KS-14",
    500,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} exited before it registered (${why})`,
  ),
  handshake_failed: entry(
    "KS-17",
    500,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} did not register: ${why}`,
  ),
  no_connection_info: entry(
    "KS-18",
    500,
    ({ session_id, why }: Because) =>
      `No ports for session ${session_id}: ${why}`,
  ),
  program_not_found: entry(
    "KS-19",
    400,
    ({ program, path }: { program: string; path: string }) =>
      `The program ${program} was not found${path === "" ? "" : ` on the PATH ${path}`}`,
  ),
  bad_configuration: entry("400", 400, ({ why }: Why) => why),

  unauthorized: entry(
    "unauthorized",
    401,
    () =>
      "This needs the server's token, as the header `Authorization: Bearer <token>`",
  ),
  forbidden: entry("forbidden", 403, ({ why }: Why) => why),
  bad_request: entry("bad_request", 400, ({ why }: Why) => why),
  not_found: entry(
    "not_found",
    404,
    ({ path }: { path: string }) => `There is nothing at ${path}`,
  ),
  method_not_allowed: entry(
    "method_not_allowed",
    405,
    ({ method, allow }: { method: string; allow: string }) =>
      `${method} is not possible here: use ${allow}`,
  ),
  too_large: entry(
    "too_large",
    413,
    ({ limit }: { limit: number }) =>
      `What was sent is larger than ${limit} bytes`,
  ),
  kernelspec_not_found: entry(
    "kernelspec_not_found",
    404,
    ({ name, known }: { name: string; known: string }) =>
      `There is no kernelspec ${name}${known === "" ? "" : `; there are ${known}`}`,
  ),
  bad_kernelspec: entry(
    "bad_kernelspec",
    422,
    ({ name, path, why }: { name: string; path: string; why: string }) =>
      `The kernelspec ${name} cannot be used (${path}): ${why}`,
  ),
  bad_working_directory: entry(
    "bad_working_directory",
    400,
    ({ why }: Why) => why,
  ),
  bad_message: entry("bad_message", 400, ({ why }: Why) => why),
  kernel_exited: entry(
    "kernel_exited",
    409,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} exited (${why}) before it answered`,
  ),
  no_answer: entry(
    "no_answer",
    504,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} did not answer ${why}`,
  ),
  kernel_unreachable: entry(
    "kernel_unreachable",
    503,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} takes no messages: ${why}`,
  ),
  shutting_down: entry(
    "shutting_down",
    503,
    () => "The server is shutting down and starts nothing new",
  ),
  too_busy: entry("too_busy", 429, ({ why }: Why) => why),
  execution_not_found: entry(
    "execution_not_found",
    404,
    ({ execution_id }: { execution_id: string }) =>
      `There is no execution ${execution_id}, or it is no longer kept`,
  ),
  execution_state: entry("execution_state", 409, ({ why }: Why) => why),
  upgrade_required: entry(
    "upgrade_required",
    426,
    () => "This address is a WebSocket: connect to it as one",
  ),
  internal: entry(
    "internal",
    500,
    () => "Something went wrong in the server; its log says what",
  ),
  execution_timeout: entry(
    "timeout",
    408,
    ({ execution_id, why }: { execution_id: string; why: string }) =>
      `Execution ${execution_id} was interrupted: it did not end within ${why}`,
  ),
  bad_answer: entry(
    "bad_answer",
    502,
    ({ session_id, why }: Because) =>
      `The kernel of session ${session_id} answered with what nobody can read: ${why}`,
  ),
  session_replaced: entry(
    "session_replaced",
    409,
    ({ session_id, why }: Because) =>
      `Session ${session_id} is a new one, with another journal than before (its server was started again, or it was deleted and made anew): ${why}`,
  ),
  request_timeout: entry("request_timeout", 408, ({ why }: Why) => why),
  headers_too_large: entry(
    "headers_too_large",
    431,
    ({ limit }: { limit: number }) =>
      `The head of the request is larger than ${limit} bytes`,
  ),
} as const;

export type Reason = keyof typeof errors;
export type DetailsOf<R extends Reason> = Parameters<
  (typeof errors)[R]["message"]
>[0];

/** What every failed operation answers, in every door. */
export const ErrorBody = z
  .looseObject({
    code: z
      .string()
      .describe("Stable: `KS-n` as Kallichore numbers it, or a word of ours"),
    message: z.string().describe("For people: what was wrong and what to do"),
    details: z
      .string()
      .optional()
      .describe("More, such as the context of a start"),
    reason: z
      .string()
      .optional()
      .describe("The name of the failure, to switch on"),
  })
  .meta({ id: "Error" });
export type ErrorBody = z.infer<typeof ErrorBody>;

/** What a failed start or restart answers. */
export const StartupErrorBody = z
  .looseObject({
    exit_code: z
      .int()
      .optional()
      .describe(
        "How the process ended; -1 for a signal, 130 when it ran but could not be reached",
      ),
    output: z
      .string()
      .optional()
      .describe("What the process printed, standard output and error together"),
    error: ErrorBody,
  })
  .meta({ id: "StartupError" });
export type StartupErrorBody = z.infer<typeof StartupErrorBody>;

/** What a start leaves behind when it fails. */
export interface Startup {
  readonly exit_code?: number | undefined;
  readonly output?: string | undefined;
}

export interface FailureOptions extends ErrorOptions {
  readonly details?: string | undefined;
  readonly startup?: Startup | undefined;
}

/** The one class callers catch. Switch on `reason`; show `message`. */
export class SupervisorError extends Error {
  override readonly name = "SupervisorError";
  readonly reason: Reason;
  readonly details: string | undefined;
  readonly startup: Startup | undefined;

  constructor(reason: Reason, message: string, options: FailureOptions = {}) {
    super(message, options);
    this.reason = reason;
    this.details = options.details;
    this.startup = options.startup;
  }

  get code(): string {
    return errors[this.reason].code;
  }

  /** HTTP status. */
  get status(): number {
    return errors[this.reason].status;
  }

  get body(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.details !== undefined && { details: this.details }),
      reason: this.reason,
    };
  }

  get startupBody(): StartupErrorBody {
    const { exit_code, output } = this.startup ?? {};
    return {
      ...(exit_code !== undefined && { exit_code }),
      ...(output !== undefined && { output }),
      error: this.body,
    };
  }
}

/** The failure named `reason`, worded from the table: `throw failure("session_not_found", { session_id })`. */
export function failure<R extends Reason>(
  reason: R,
  details: DetailsOf<R>,
  options?: FailureOptions,
): SupervisorError {
  const word = errors[reason].message as (details: DetailsOf<R>) => string;
  return new SupervisorError(reason, word(details), options);
}

export function isReason(name: unknown): name is Reason {
  return typeof name === "string" && Object.hasOwn(errors, name);
}

function entry<D = Record<string, never>>(
  code: string,
  status: number,
  message: (details: D) => string,
) {
  return { code, status, message };
}
