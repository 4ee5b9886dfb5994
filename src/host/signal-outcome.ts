/**
 * The outcome of sending a signal. `sent`: at least one process got it; a process
 * that has ended counts until its parent has waited for it. `gone`: no process
 * is left. `refused`: the processes belong to another user. `unsupported`: this
 * platform has no such signal.
 */
export type SignalOutcome = "sent" | "gone" | "refused" | "unsupported";
