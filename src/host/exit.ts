/** How a kernel's process ended. */
export interface Exit {
  /** -1 if a signal ended the process; 0 for an adopted kernel that is gone. */
  readonly exit_code: number;
  readonly signal: string | null;
  /** The last lines that the process wrote to standard error. */
  readonly output: string;
  /** Why the server ended the process without a request. */
  readonly why?: string;
  /** It was killed because there was no memory left, or because it used more than it may. Absent if the first is not known. */
  readonly oom?: true;
  /** The limit of its session that has ended it. */
  readonly limit?: "memory" | "run_time";
}

/** How it ended, for people. */
export function describeExit({ exit_code, signal, oom, limit }: Exit): string {
  const how = signal === null ? `exit code ${exit_code}` : `signal ${signal}`;
  if (oom === true) return `${how} (out of memory)`;
  return limit === "run_time" ? `${how} (time limit)` : how;
}
