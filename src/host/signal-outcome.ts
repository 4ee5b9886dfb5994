/**
 * `sent`: at least one process was signalled, be it one that has ended and was
 * not yet awaited by its parent. `gone`: there is none any more.
 * `refused`: they belong to somebody else. `unsupported`: not on this platform.
 */
export type SignalOutcome = "sent" | "gone" | "refused" | "unsupported";
