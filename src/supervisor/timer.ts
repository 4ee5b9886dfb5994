/** Limits of timers that may be set for hours or days. */

/** If a timer fires this late, the machine or the process was asleep. */
export const ASLEEP_MS = 10_000;
/** A timer cannot be set for longer than 2^31 ms. A longer wait sets it again. */
export const LONGEST_MS = 2_000_000_000;
