/** How a kernel's process ended. */
export interface Exit {
  /** -1 when a signal ended it; 0 for an adopted kernel that went away. */
  readonly exit_code: number;
  readonly signal: string | null;
  /** The tail of what it printed on standard error. */
  readonly output: string;
  /** Why the server ended it, where nobody asked for that. */
  readonly why?: string;
}
