/** How a kernel's process ended. */
export interface Exit {
  /** -1 if a signal ended the process; 0 for an adopted kernel that is gone. */
  readonly exit_code: number;
  readonly signal: string | null;
  /** The last lines that the process wrote to standard error. */
  readonly output: string;
  /** Why the server ended the process without a request. */
  readonly why?: string;
}
