/** What holds for timers over sessions that may be set for hours or days. */

/** A timer that is this late was asleep, with the machine or with the process alone. */
export const ASLEEP_MS = 10_000;
/** A timer cannot be set for longer (2^31 ms); it is then set again. */
export const LONGEST_MS = 2_000_000_000;
