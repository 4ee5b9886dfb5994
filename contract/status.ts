/** The status of a session. */
import * as z from "zod";

export const SessionStatus = z
  .enum([
    "uninitialized",
    "starting",
    "ready",
    "idle",
    "busy",
    "offline",
    "exited",
  ])
  .describe(
    "The status of the session: `uninitialized` before its first start; `starting` until the kernel answers; `ready` when the kernel has answered and not yet reported its execution state; `idle` and `busy` as the kernel reports, also for the server's own first request; `offline` while the kernel's heartbeat does not answer; `exited` when its process has ended",
  )
  .meta({ id: "Status" });
export type SessionStatus = z.infer<typeof SessionStatus>;
