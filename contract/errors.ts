/**
 * The error messages: for each reason the sentence that a person reads, as a
 * function of the details that the sentence needs.
 */
import {
  type FailureOptions,
  type Reason,
  reasons,
  SupervisorError,
} from "./reasons.ts";
import {
  type SessionProblem,
  type InSession,
  kernelExited,
  noAnswer,
  sessionNotFound,
  sessionReplaced,
  unauthorized,
} from "./sentences.ts";

interface Explained {
  why: string;
}

const sentences = {
  session_exists: ({ session_id }: InSession) =>
    `Session ${session_id} already exists: delete it first, or choose another id`,
  session_not_found: sessionNotFound,
  session_running: ({ session_id }: InSession) =>
    `Session ${session_id} has a running kernel: stop it first`,
  session_not_running: ({ session_id }: InSession) =>
    `Session ${session_id} has no running kernel`,
  process_not_found: ({ session_id, why }: SessionProblem) =>
    `The kernel process of session ${session_id} could not be signalled: ${why}`,
  start_failed: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} could not be started: ${why}`,
  connection_failed: ({ session_id, why }: SessionProblem) =>
    `No connection to the kernel of session ${session_id}: ${why}`,
  connection_timeout: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} did not answer in time: ${why}`,
  exited_during_start: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} exited while it started (${why})`,
  interrupt_failed: ({ session_id, why }: SessionProblem) =>
    `Session ${session_id} cannot be interrupted: ${why}`,
  no_process: ({ session_id }: InSession) =>
    `Session ${session_id} has no process that this server may signal`,
  restart_failed: ({ session_id, why }: SessionProblem) =>
    `Session ${session_id} cannot be restarted: ${why}`,
  exited_before_handshake: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} exited before it registered (${why})`,
  handshake_failed: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} did not register: ${why}`,
  no_connection_info: ({ session_id, why }: SessionProblem) =>
    `No ports for session ${session_id}: ${why}`,
  program_not_found: ({ program, path }: { program: string; path: string }) =>
    `The program ${program} was not found${path === "" ? "" : ` on the PATH ${path}`}`,
  bad_configuration: ({ why }: Explained) => why,

  unauthorized: unauthorized,
  forbidden: ({ why }: Explained) => why,
  bad_request: ({ why }: Explained) => why,
  not_found: ({ path, basePath }: { path: string; basePath?: string }) =>
    `There is nothing at ${path}${basePath === undefined ? "" : `: this server answers below ${basePath}/`}`,
  method_not_allowed: ({ method, allow }: { method: string; allow: string }) =>
    `${method} is not allowed at this path: use ${allow}`,
  too_large: ({ limit }: { limit: number }) =>
    `The request is larger than ${limit} bytes`,
  kernelspec_not_found: ({ name, known }: { name: string; known: string }) =>
    `There is no kernelspec ${name}${known === "" ? "" : `; available: ${known}`}`,
  bad_kernelspec: ({
    name,
    path,
    why,
  }: {
    name: string;
    path: string;
    why: string;
  }) => `The kernelspec ${name} cannot be used (${path}): ${why}`,
  bad_working_directory: ({ why }: Explained) => why,
  bad_message: ({ why }: Explained) => why,
  kernel_exited: kernelExited,
  no_answer: noAnswer,
  kernel_unreachable: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} does not accept messages: ${why}`,
  shutting_down: () => "The server is shutting down: it starts no more kernels",
  too_busy: ({ why }: Explained) => why,
  execution_not_found: ({ execution_id }: { execution_id: string }) =>
    `There is no execution ${execution_id}, or the server no longer keeps it`,
  execution_state: ({ why }: Explained) => why,
  upgrade_required: () =>
    "This path is a WebSocket endpoint: connect to it with a WebSocket client",
  internal: () => "The server had an internal error: its log has the cause",
  execution_timeout: ({
    execution_id,
    why,
  }: {
    execution_id: string;
    why: string;
  }) =>
    `Execution ${execution_id} was interrupted: it did not end within ${why}`,
  bad_answer: ({ session_id, why }: SessionProblem) =>
    `The kernel of session ${session_id} sent a reply that the server cannot read: ${why}`,
  session_replaced: sessionReplaced,
  request_timeout: ({ why }: Explained) => why,
  headers_too_large: ({ limit }: { limit: number }) =>
    `The headers of the request are larger than ${limit} bytes`,
  kernel_not_found: ({ kernel_id }: { kernel_id: string }) =>
    `Kernel does not exist: ${kernel_id}`,
  jupyter_session_not_found: ({ session_id }: InSession) =>
    `Session not found: session_id='${session_id}'`,
  execution_aborted: ({
    execution_id,
    why,
  }: {
    execution_id: string;
    why: string;
  }) => `Execution ${execution_id} did not run to its end: ${why}`,
  resource_limit: ({ limit }: { limit: number }) =>
    `Resource Limit: at most ${limit} kernels may run at one time`,
  connection_file_not_found: ({ name, why }: { name: string; why: string }) =>
    `The connection file ${name} in Jupyter's runtime directory cannot be used: ${why}`,
  port_unreachable: ({
    session_id,
    port,
    why,
  }: SessionProblem & { port: number }) =>
    `Port ${port} of the kernel of session ${session_id} cannot be reached: ${why}`,
} satisfies Record<Reason, (details: never) => string>;

type Sentences = typeof sentences;
export type DetailsOf<R extends Reason> = Sentences[R] extends (
  details: infer D,
) => string
  ? unknown extends D
    ? Record<string, never>
    : D
  : never;

/** The code, the HTTP status and the message of each reason. */
export const errors = Object.fromEntries(
  Object.entries(reasons).map(([reason, [code, status]]) => [
    reason,
    { code, status, message: sentences[reason as Reason] },
  ]),
) as {
  readonly [R in Reason]: {
    readonly code: string;
    readonly status: number;
    readonly message: Sentences[R];
  };
};

/** An error with this `reason` and its message from the table: `throw failure("session_not_found", { session_id })`. */
export function failure<R extends Reason>(
  reason: R,
  details: DetailsOf<R>,
  options?: FailureOptions,
): SupervisorError {
  const message = sentences[reason] as (details: DetailsOf<R>) => string;
  return new SupervisorError(reason, message(details), options);
}
