/**
 * `kallichore serve --keep --replace`: the server that runs lets go of its sessions,
 * and this one goes on with them. This one announces itself in the state first. If it
 * fails then, the other one goes on.
 */
import { spawn } from "node:child_process";
import { setTimeout as delay } from "node:timers/promises";
import { defaultStateRoot, stateDirectory } from "../state/root.ts";
import {
  announcement,
  readAhead,
  type StateAhead,
  userOf,
} from "../state/state.ts";
import type { Log } from "../log/log.ts";
import { CommandError } from "./exit.ts";
import type { ServeOptions } from "./serve-options.ts";
import { whyOf } from "./why.ts";

/** How long the other server may take to let go, and how long it waits for this one to serve. */
const TIMEOUT_MS = 30_000;
const POLL_MS = 5;

/** The state directory that the options name. Throws an error whose message is for people. */
export function stateOf({ stateDir, stateName }: ServeOptions): string {
  const root = stateDir ?? defaultStateRoot(process.env);
  return stateDirectory(root, stateName ?? "default");
}

/** Resolves when no server uses the state, with what was read of it before. Throws `refused`; the other server then goes on. */
export async function takeOver(
  directory: string,
): Promise<StateAhead | undefined> {
  const other = userOf(directory);
  if (other === undefined) return undefined;
  let ahead: StateAhead;
  try {
    ahead = await readAhead(directory);
  } catch (cause) {
    throw new CommandError(
      "refused",
      `This version cannot go on with the sessions of process ${other.pid}, which goes on: ${whyOf(cause)}`,
      { cause },
    );
  }
  await import("../keep.ts"); // what a server that keeps sessions loads
  const announced = announcement(directory);
  announced.make();
  try {
    process.kill(other.pid, "SIGTERM");
    const latest = performance.now() + TIMEOUT_MS;
    while (userOf(directory)?.pid === other.pid) {
      if (performance.now() > latest) {
        throw new CommandError(
          "refused",
          `Process ${other.pid} did not let go of its sessions within ${TIMEOUT_MS / 1000} s`,
        );
      }
      await delay(POLL_MS);
    }
  } catch (error) {
    announced.withdraw();
    throw error;
  }
  return ahead;
}

/**
 * Waits for the process that has announced itself in the state. Resolves with
 * `serves` when it serves, and with `failed` when it cannot, so that this server must
 * go on; with `none` at once if no process has announced itself.
 */
export async function successorOf(
  directory: string,
  log: Log,
): Promise<"none" | "serves" | "failed"> {
  const announced = announcement(directory);
  const { successor } = announced;
  if (successor === undefined) return "none";
  const latest = performance.now() + TIMEOUT_MS;
  for (;;) {
    const now = announced.successor?.pid;
    const user = userOf(directory)?.pid;
    if (now === undefined && user === successor.pid) return "serves";
    if (now === undefined && user === undefined) {
      log.error(
        `Process ${successor.pid}, which was to go on, did not start: this one goes on`,
      );
      return "failed";
    }
    if (now !== successor.pid) return "serves"; // another one goes on
    if (performance.now() > latest) {
      log.error(
        `Process ${successor.pid} has the sessions, and did not serve them within ${TIMEOUT_MS / 1000} s`,
      );
      return "serves";
    }
    await delay(POLL_MS);
  }
}

/** Starts the program that is installed now, with the same arguments, so that it replaces this process. */
export function startSuccessor(log: Log): void {
  const args = process.argv.slice(1);
  const own = args.includes("--replace") ? args : [...args, "--replace"];
  const child = spawn(process.execPath, [...process.execArgv, ...own], {
    detached: true, // it goes on when this process has ended
    stdio: ["ignore", "inherit", "inherit"],
  });
  log.info({ pid: child.pid }, "A server is started to replace this one");
  child.once("error", (error) =>
    log.error(
      { err: error },
      "The server that replaces this one did not start",
    ),
  );
  child.once("exit", (code, signal) =>
    log.error(
      `The server that was to replace this one ended with ${signal ?? `exit code ${code}`}: this one goes on`,
    ),
  );
  child.unref();
}
