/**
 * The reasons of all failures, and the error class that carries them.
 *
 * Each entry is a promise to callers: the reason to switch on, the code that
 * Kallichore clients already know (`KS-n`; our own codes are words), and the
 * HTTP status. Add new entries at the end; a published code keeps its meaning.
 * The messages are in `errors.ts`, so that a web page need not load them.
 */
import type { ErrorBody, StartupErrorBody } from "./error-body.ts";

export const reasons = {
  session_exists: ["KS-0", 400],
  session_not_found: ["KS-1", 404],
  session_running: ["KS-2", 400],
  session_not_running: ["KS-3", 400],
  process_not_found: ["KS-4", 400],
  start_failed: ["KS-5", 500],
  connection_failed: ["KS-6", 500],
  connection_timeout: ["KS-7", 500],
  exited_during_start: ["KS-8", 500],
  interrupt_failed: ["KS-10", 400],
  no_process: ["KS-12", 400],
  restart_failed: ["KS-13", 500],
  exited_before_handshake: ["KS-14", 500],
  handshake_failed: ["KS-17", 500],
  no_connection_info: ["KS-18", 500],
  program_not_found: ["KS-19", 400],
  bad_configuration: ["400", 400],

  unauthorized: ["unauthorized", 401],
  forbidden: ["forbidden", 403],
  bad_request: ["bad_request", 400],
  not_found: ["not_found", 404],
  method_not_allowed: ["method_not_allowed", 405],
  too_large: ["too_large", 413],
  kernelspec_not_found: ["kernelspec_not_found", 404],
  bad_kernelspec: ["bad_kernelspec", 422],
  bad_working_directory: ["bad_working_directory", 400],
  bad_message: ["bad_message", 400],
  kernel_exited: ["kernel_exited", 409],
  no_answer: ["no_answer", 504],
  kernel_unreachable: ["kernel_unreachable", 503],
  shutting_down: ["shutting_down", 503],
  too_busy: ["too_busy", 429],
  execution_not_found: ["execution_not_found", 404],
  execution_state: ["execution_state", 409],
  upgrade_required: ["upgrade_required", 426],
  internal: ["internal", 500],
  execution_timeout: ["timeout", 408],
  bad_answer: ["bad_answer", 502],
  session_replaced: ["session_replaced", 409],
  request_timeout: ["request_timeout", 408],
  headers_too_large: ["headers_too_large", 431],
  kernel_not_found: ["kernel_not_found", 404],
  jupyter_session_not_found: ["jupyter_session_not_found", 404],
  execution_aborted: ["execution_aborted", 500],
  resource_limit: ["resource_limit", 403],
  connection_file_not_found: ["connection_file_not_found", 404],
  port_unreachable: ["port_unreachable", 502],
} as const satisfies Readonly<
  Record<string, readonly [code: string, status: number]>
>;

export type Reason = keyof typeof reasons;

/** Why the start of a kernel fails. */
export const startReasons = [
  "start_failed",
  "connection_failed",
  "connection_timeout",
  "exited_during_start",
  "exited_before_handshake",
  "handshake_failed",
] as const satisfies readonly Reason[];

/** The exit code and the output of a kernel whose start failed. */
export interface Startup {
  readonly exit_code?: number | undefined;
  readonly output?: string | undefined;
}

export interface FailureOptions extends ErrorOptions {
  readonly details?: string | undefined;
  readonly startup?: Startup | undefined;
}

/** The one error class that callers catch. Switch on `reason`; show `message`. */
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
    return reasons[this.reason][0];
  }

  /** HTTP status. */
  get status(): number {
    return reasons[this.reason][1];
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

/** Whether `name` is a reason of the contract. */
export function isReason(name: unknown): name is Reason {
  return typeof name === "string" && Object.hasOwn(reasons, name);
}
