/** Reports an error to the person: the message, the kernel's own output, and a hint. */
import { toFailure } from "../../client/failure.ts";
import { ConnectionError, SupervisorError } from "../../client/index.ts";
import { startReasons } from "../../contract/reasons.ts";
import { CommandError, type ExitCode, exits } from "./exit.ts";
import type { Terminal } from "./terminal.ts";

interface ErrorDescription {
  readonly exit: ExitCode;
  readonly message: string;
  readonly reason?: string | undefined;
  /** The kernel's own output. */
  readonly output?: string | undefined;
  readonly hint?: string | undefined;
}

/** Prints the error. Returns the exit code's name. */
export async function report(
  error: unknown,
  json: boolean,
  terminal: Terminal,
): Promise<ExitCode> {
  if (error instanceof CommandError && error.isKnown) return error.exit;
  const described = describeError(error);
  const { exit, message, reason, output, hint } = described;
  const { err } = terminal;
  if (json) {
    const exit_code = exits[exit][0];
    await terminal.json({
      type: "failure",
      message,
      reason,
      hint,
      output,
      exit_code,
    });
    return exit;
  }
  await err.line(`${err.colors.red("kallichore:")} ${message}`);
  if (output !== undefined && output.trim() !== "") {
    await err.line(quoted(output, err.colors.dim));
  }
  if (hint !== undefined) await err.line(hint);
  return exit;
}

/** The message and the exit code of an error. */
export function describeError(thrown: unknown): ErrorDescription {
  const error = thrown instanceof Error ? toFailure(thrown) : thrown;
  if (error instanceof CommandError) {
    const { exit, message, reason, hint } = error;
    return { exit, message, reason, hint };
  }
  if (error instanceof SupervisorError) {
    const { message, reason, startup, details } = error;
    const output = startup?.output ?? details;
    const exit = kernelDied.has(reason) ? "kernel_died" : "refused";
    return { exit, message, reason, output, hint: hints[reason] };
  }
  if (error instanceof ConnectionError) {
    return { exit: "refused", message: error.message };
  }
  const text =
    error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { exit: "internal_error", message: `A bug in Kallichore: ${text}` };
}

const kernelDied: ReadonlySet<string> = new Set<SupervisorError["reason"]>([
  ...startReasons,
  "restart_failed",
  "kernel_exited",
  "program_not_found",
]);

const hints: Readonly<Partial<Record<SupervisorError["reason"], string>>> = {
  unauthorized:
    "Put the server's token into KALLICHORE_TOKEN, or into a file: --token FILE",
  session_running: "To end its kernel: kallichore stop SESSION",
  session_not_running: "To start its kernel: kallichore restart SESSION",
  session_exists: "To see all sessions: kallichore ps",
  connection_file_not_found:
    "To see the kernels of other programs: kallichore ps --external",
  program_not_found:
    "To see the directory of each kernelspec: kallichore kernels",
};

/** Indents the kernel's output, so that it differs from this program's messages. */
export function quoted(text: string, dim: (text: string) => string): string {
  return text
    .trimEnd()
    .split("\n")
    .map((line) => `${dim("  |")} ${line}`)
    .join("\n");
}
