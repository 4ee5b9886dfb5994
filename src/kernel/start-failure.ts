/** Why a start failed, in the words that a client reads. */
import { failure, type Reason, SupervisorError } from "../../contract/index.ts";
import type { Exit } from "../host/exit.ts";
import type { StartError } from "../host/host.ts";
import { STARTUP_BEGIN, STARTUP_SUCCESS } from "../host/shell.ts";
import type { Recipe } from "./kernel.ts";

/** What Kallichore reports as the exit code of a kernel that runs and cannot be reached. */
export const CONNECTION_EXIT_CODE = 130;

const MARKERS = [STARTUP_BEGIN, STARTUP_SUCCESS];

/** What is known of how a kernel was started, and how far it came. */
export interface StartProgress {
  /** In which shell, and after which command; `undefined` without a shell. */
  readonly through: string | undefined;
  /** Whether marker lines are printed around the start-up command. */
  readonly hasMarkers: boolean;
  readonly printed: string;
}

/** A step before the process that did not come about: `what` says which. */
export function stepFailure(
  reason: Reason & ("no_connection_info" | "handshake_failed" | "start_failed"),
  { session_id, what }: { session_id: string; what?: string },
  cause: unknown,
): SupervisorError {
  const why = [what, messageOf(cause)].filter(Boolean).join(": ");
  return failure(reason, { session_id, why }, { cause });
}

/** A command that cannot be run. */
export function commandFailure(
  session_id: string,
  program: string,
  cause: StartError,
): SupervisorError {
  const { errno } = cause;
  return failure(
    "start_failed",
    { session_id, why: `${program} cannot be run: ${messageOf(cause)}` },
    {
      cause,
      startup: { exit_code: errno === undefined ? undefined : Math.abs(errno) },
    },
  );
}

/** A process that ended before it was a kernel. */
export function exitFailure(
  reason: "exited_before_handshake" | "exited_during_start",
  { session_id, exit }: { session_id: string; exit: Exit },
  course: StartProgress,
): SupervisorError {
  const why =
    exit.signal === null
      ? `exit code ${exit.exit_code}`
      : `signal ${exit.signal}`;
  return failure(
    reason,
    { session_id, why },
    {
      details: detailsOf(course, "the kernel failed to start"),
      startup: startupOf(course, exit.exit_code),
    },
  );
}

/** A process that runs and has not registered. `why` is that of a registration that could not be read. */
export function registrationFailure(
  { session_id, timeout_ms }: Recipe,
  {
    why,
    unsigned,
    course,
  }: { why: string | undefined; unsigned: number; course: StartProgress },
  cause: unknown,
): SupervisorError {
  const unsignedNote =
    unsigned === 0
      ? ""
      : `; ${unsigned} messages came that were not signed with its key`;
  const late = `${lateness("register its ports", timeout_ms)}${unsignedNote}`;
  const options = { cause, startup: startupOf(course, undefined) };
  return failure("handshake_failed", { session_id, why: why ?? late }, options);
}

/** A kernel that was not reached, or has not answered. Without `course` it is not ours. */
export function answerFailure(
  { session_id, timeout_ms }: Recipe,
  error: unknown,
  course?: StartProgress,
): SupervisorError {
  if (error instanceof SupervisorError) return error;
  const isLate = error instanceof Error && error.name === "TimeoutError";
  const reason: Reason & ("connection_timeout" | "connection_failed") = isLate
    ? "connection_timeout"
    : "connection_failed";
  const why = isLate
    ? lateness("answer `kernel_info_request`", timeout_ms)
    : messageOf(error);
  return failure(
    reason,
    { session_id, why },
    {
      cause: error,
      ...(course !== undefined && {
        details: detailsOf(course, "the kernel failed to connect"),
        startup: startupOf(course, CONNECTION_EXIT_CODE),
      }),
    },
  );
}

function lateness(what: string, timeout_ms = 0): string {
  return `it did not ${what} within ${timeout_ms / 1000} s`;
}

function startupOf({ printed }: StartProgress, exit_code: number | undefined) {
  const output = printed
    .split("\n")
    .filter((line) => !MARKERS.includes(line.trimEnd()))
    .join("\n");
  return { exit_code, output };
}

/** In which shell, after which command, and how far it came. */
function detailsOf(
  { through, hasMarkers, printed }: StartProgress,
  otherwise: string,
): string {
  let phase = otherwise;
  if (hasMarkers && !printed.includes(STARTUP_BEGIN)) {
    phase = "the shell failed before it came to the start-up command";
  } else if (hasMarkers && !printed.includes(STARTUP_SUCCESS)) {
    phase = "the start-up command failed";
  }
  return [through, phase].filter(Boolean).join("\n");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
