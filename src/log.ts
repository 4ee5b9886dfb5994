/**
 * One line per decision; usable from every room. What a line may never hold:
 * a key, a token (not even a wrong one), an environment value, a user's code.
 */
import type { Logger } from "pino";

export type Log = Pick<
  Logger,
  "trace" | "debug" | "info" | "warn" | "error" | "child" | "level"
>;
