/**
 * How a command ends: the exit codes that scripts may rely on, and the error
 * that a command throws for the person who typed it. An exit code keeps its
 * meaning for ever.
 */
import type { Reason } from "../../contract/index.ts";

export const exits = {
  ok: [0, "success"],
  code_error: [1, "the code failed"],
  kernel_died: [2, "the kernel died or could not be started"],
  refused: [
    3,
    "the server, session or kernel was not found, or the server refused",
  ],
  found: [4, "'kallichore doctor' has found something"],
  usage: [64, "the command line is not valid"],
  internal_error: [70, "a bug in kallichore; please report it"],
  timeout: [124, "--timeout was reached"],
  hangup: [129, "the terminal was closed (SIGHUP)"],
  interrupted: [130, "interrupted (Ctrl-C)"],
  broken_pipe: [141, "the reader of the output closed it (SIGPIPE)"],
  terminated: [143, "terminated (SIGTERM)"],
} as const satisfies Record<string, readonly [number, string]>;

export type ExitCode = keyof typeof exits;

/** An error with a message and a hint for the person who typed the command. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exit: ExitCode;
  /** What the person can do; printed on lines of its own. */
  readonly hint: string | undefined;
  /** The contract's name of the failure, for programs. */
  readonly reason: Reason | undefined;
  /** Whether the person knows the reason already, so that no message is printed. */
  readonly isKnown: boolean;

  constructor(
    exit: ExitCode,
    message: string,
    {
      hint,
      reason,
      isKnown = false,
      cause,
    }: {
      hint?: string | undefined;
      reason?: Reason | undefined;
      isKnown?: boolean;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause });
    this.exit = exit;
    this.hint = hint;
    this.reason = reason;
    this.isKnown = isKnown;
  }
}

/** The section "Exit codes" of a help text. */
export function exitHelp(names: readonly ExitCode[]): string {
  const lines = names.map((name) => {
    const [code, meaning] = exits[name];
    return `  ${String(code).padEnd(4)} ${meaning}`;
  });
  return ["Exit codes:", ...lines].join("\n");
}
