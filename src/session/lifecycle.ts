/**
 * A session's whole life, as a table.
 *
 * A row is a status, a column is a trigger. A trigger that the row of the present
 * status lacks has arrived too late. It changes nothing, and it is not an error.
 * No other part of the program may change a session's status.
 */
import type { SessionStatus } from "../../contract/index.ts";

/**
 * `start`: a client starts a kernel. `adopt`: a client adopts a kernel that runs
 * elsewhere. `autorestart`: the kernel exited, and the session's policy starts it
 * again. `answer`: the kernel answered for the first time, or its heartbeat
 * returned before it reported any state. `busy`, `idle`: the kernel reported this
 * state. `silence`: its heartbeat stopped. `exit`: its process is gone, or never
 * ran.
 */
export type Trigger =
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
  Partial<Record<Trigger, SessionStatus>>
>;

/** The status after `trigger` in `status`; `undefined` if it cannot happen there. */
export function next(
  status: SessionStatus,
  trigger: Trigger,
): SessionStatus | undefined {
  const row: Partial<Record<Trigger, SessionStatus>> = life[status];
  return row[trigger];
}

/** The triggers of `status`, each with the status that follows. */
export function transitions(
  status: SessionStatus,
): readonly [Trigger, SessionStatus][] {
  return Object.entries(life[status]) as [Trigger, SessionStatus][];
}

/** Whether a kernel runs or is starting. */
export function isRunning(status: SessionStatus): boolean {
  return status !== "uninitialized" && status !== "exited";
}
