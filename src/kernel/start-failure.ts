/** The failures of a kernel's start, with the messages that clients read. */
import { failure, type Reason, SupervisorError } from "../../contract/index.ts";
import { describeExit, type Exit } from "../host/exit.ts";
import type { StartError } from "../host/host.ts";
import { STARTUP_BEGIN, STARTUP_SUCCESS } from "../host/shell.ts";
import type { Recipe } from "./kernel.ts";

/** Kallichore reports this exit code for a kernel that runs and cannot be reached. */
export const CONNECTION_EXIT_CODE = 130;

const MARKERS = [STARTUP_BEGIN, STARTUP_SUCCESS];

/** How a kernel was started, and its output so far. */
export interface StartProgress {
  /** The shell and the start-up command; `undefined` without a shell. */
  readonly through: string | undefined;
  /** Whether marker lines are printed around the start-up command. */
  readonly hasMarkers: boolean;
  readonly printed: string;
}

/** A step before the start of the process failed; `what` names the step. */
export function stepFailure(
  reason: Reason & ("no_connection_info" | "handshake_failed" | "start_failed"),
  { session_id, what }: { session_id: string; what?: string },
  cause: unknown,
): SupervisorError {
  const why = [what, messageOf(cause)].filter(Boolean).join(": ");
  return failure(reason, { session_id, why }, { cause });
}

/** The command cannot be run. */
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

/** The process ended before the kernel was ready. */
export function exitFailure(
  reason: "exited_before_handshake" | "exited_during_start",
  { session_id, exit }: { session_id: string; exit: Exit },
  progress: StartProgress,
): SupervisorError {
  return failure(
    reason,
    { session_id, why: describeExit(exit) },
    {
      details: detailsOf(progress, "the kernel failed to start"),
      startup: startupOf(progress, exit.exit_code),
    },
  );
}

/** The process runs, but the kernel has not registered in time. `why`: the fault of a registration that could not be read. */
export function registrationFailure(
  { session_id, timeout_ms }: Recipe,
  {
    why,
    unsigned,
    progress,
  }: { why: string | undefined; unsigned: number; progress: StartProgress },
  cause: unknown,
): SupervisorError {
  const unsignedNote =
    unsigned === 0
      ? ""
      : `; ${unsigned} messages arrived that were not signed with its key`;
  const late = `${lateness("register its ports", timeout_ms)}${unsignedNote}`;
  const options = { cause, startup: startupOf(progress, undefined) };
  return failure("handshake_failed", { session_id, why: why ?? late }, options);
}

/** The kernel could not be reached, or has not answered. An adopted kernel has no `progress`. */
export function answerFailure(
  { session_id, timeout_ms }: Recipe,
  error: unknown,
  progress?: StartProgress,
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
      ...(progress !== undefined && {
        details: detailsOf(progress, "the kernel failed to connect"),
        startup: startupOf(progress, CONNECTION_EXIT_CODE),
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

/** The shell and the start-up command, and the step that failed. */
function detailsOf(
  { through, hasMarkers, printed }: StartProgress,
  otherwise: string,
): string {
  let phase = otherwise;
  if (hasMarkers && !printed.includes(STARTUP_BEGIN)) {
    phase = "the shell failed before the start-up command";
  } else if (hasMarkers && !printed.includes(STARTUP_SUCCESS)) {
    phase = "the start-up command failed";
  }
  return [through, phase].filter(Boolean).join("\n");
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
