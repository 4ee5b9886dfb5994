/**
 * How a command ends: the exit codes that scripts may rely on, and the one
 * error that a command throws at the person who typed it. A code, once shipped,
 * keeps its meaning.
 */
import type { Reason } from "../../contract/index.ts";

export const exits = {
  ok: [0, "it worked"],
  code_error: [1, "the code ended with an error"],
  kernel_died: [2, "the kernel died, or could not be started"],
  refused: [
    3,
    "there is no server, session or kernel like that, or it said no",
  ],
  usage: [64, "the command line was not understood"],
  accident: [70, "a bug of ours; please report it"],
  timeout: [124, "time was up (--timeout)"],
  hangup: [129, "the terminal went away"],
  interrupted: [130, "Ctrl-C"],
  broken_pipe: [141, "whoever read the output went away"],
  terminated: [143, "the command was asked to end (SIGTERM)"],
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
  readonly isSaid: boolean;

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
    this.isSaid = isSaid;
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
