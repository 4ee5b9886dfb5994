/**
 * How a command ends: the exit codes that scripts may rely on, and the one
 * error that a command throws at the person who typed it. A code, once shipped,
 * keeps its meaning.
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
  usage: [64, "the command line is not valid"],
  accident: [70, "a bug in kallichore; please report it"],
  timeout: [124, "--timeout was reached"],
  hangup: [129, "the terminal was closed (SIGHUP)"],
  interrupted: [130, "interrupted (Ctrl-C)"],
  broken_pipe: [141, "the reader of the output closed it (SIGPIPE)"],
  terminated: [143, "terminated (SIGTERM)"],
} as const satisfies Record<string, readonly [number, string]>;

export type ExitCode = keyof typeof exits;

/** What was wrong, and what to do. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly exit: ExitCode;
  /** What to do about it; lines of its own. */
  readonly hint: string | undefined;
  /** Its name among the failures of the contract, for programs. */
  readonly reason: Reason | undefined;
  /** Whoever typed the command knows it already. */
  readonly isKnown: boolean;

  constructor(
    exit: ExitCode,
    message: string,
    {
      hint,
      reason,
      isSaid = false,
      cause,
    }: {
      hint?: string | undefined;
      reason?: Reason | undefined;
      isSaid?: boolean;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause });
    this.exit = exit;
    this.hint = hint;
    this.reason = reason;
    this.isKnown = isSaid;
  }
}

/** As `--help` shows it. */
export function exitHelp(of: readonly ExitCode[]): string {
  const lines = of.map((name) => {
    const [code, meaning] = exits[name];
    return `  ${String(code).padEnd(4)} ${meaning}`;
  });
  return ["Exit codes:", ...lines].join("\n");
}
