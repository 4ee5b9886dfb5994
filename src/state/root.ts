/** Where the states of servers are, and how they may be named. */
import { homedir } from "node:os";
import { join } from "node:path";

/** `$XDG_STATE_HOME/kallichore`, on Windows `%LOCALAPPDATA%\kallichore\state`. */
export function defaultStateRoot(env: NodeJS.ProcessEnv): string {
  const { XDG_STATE_HOME: state, LOCALAPPDATA: local } = env;
  if (process.platform === "win32" && local !== undefined) {
    return join(local, "kallichore", "state");
  }
  const base =
    state === undefined || state === ""
      ? join(homedir(), ".local", "state")
      : state;
  return join(base, "kallichore");
}

/** The directory of one state. Throws an error whose message is for people. */
export function stateDirectory(root: string, name: string): string {
  assertStateName(name);
  return join(root, name);
}

/** Throws an error whose message is for people. */
export function assertStateName(name: string): void {
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/.test(name)) return;
  throw new Error(
    `"${name}" is no name of a state: use letters, digits, ".", "_" and "-", at most 64`,
  );
}
