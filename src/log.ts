/**
 * One line per decision; usable from every room. What a line may never hold:
 * a key, a token (not even a wrong one), an environment value, a user's code.
 */
import { type Logger, pino } from "pino";

export type Log = Logger;

/** For those who embed the server and do not listen to it. */
export function silentLog(): Log {
  return pino({ level: "silent" });
}
