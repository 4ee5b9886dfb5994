/**
 * A session's whole life, as a table.
 *
 * Rows are where the session is, columns what can happen to it there. What is
 * not in the table cannot happen, and nothing else in the program may change a
 * session's status. A happening that finds no cell is stale, not an error.
 */
import type { SessionStatus } from "../../contract/index.ts";

/**
 * `start`: somebody wants a kernel, and none is there. `adopt`: likewise, of
 * one that runs elsewhere. `autorestart`: the one that was there is gone, and
 * the session's policy wants another. `answer`: the kernel answered for the first time, or
 * came back from silence having said nothing since. `busy`, `idle`: it said so.
 * `silence`: its heartbeat stopped. `exit`: its process is gone, or was never
 * there.
 */
export type Happening =
  | "start"
  | "adopt"
  | "autorestart"
  | "answer"
  | "busy"
  | "idle"
  | "silence"
  | "exit";

const life = {
  uninitialized: { start: "starting", adopt: "starting" },
  starting: { answer: "ready", exit: "exited" },
  ready: { busy: "busy", idle: "idle", silence: "offline", exit: "exited" },
  idle: { busy: "busy", silence: "offline", exit: "exited" },
  busy: { idle: "idle", silence: "offline", exit: "exited" },
  offline: { answer: "ready", busy: "busy", idle: "idle", exit: "exited" },
  exited: { start: "starting", adopt: "starting", autorestart: "starting" },
} as const satisfies Record<
  SessionStatus,
  Partial<Record<Happening, SessionStatus>>
>;

/** Where `happening` leads from `status`; `undefined` when it cannot happen there. */
export function next(
  status: SessionStatus,
  happening: Happening,
): SessionStatus | undefined {
  const row: Partial<Record<Happening, SessionStatus>> = life[status];
  return row[happening];
}

/** Everything that can happen in `status`, with the status that it leads to. */
export function transitions(
  status: SessionStatus,
): readonly [Happening, SessionStatus][] {
  return Object.entries(life[status]) as [Happening, SessionStatus][];
}

/** Whether a kernel is there, or about to be. */
export function isRunning(status: SessionStatus): boolean {
  return status !== "uninitialized" && status !== "exited";
}
