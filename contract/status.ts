/** The words for where a session is. */
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
    "Where the session is: `uninitialized` before its first start; `starting` until the kernel answered; `ready` when it answered and it is not known yet what it does; `idle` and `busy` as the kernel reports, to the server's own first request too; `offline` while its heartbeat is silent; `exited` when its process is gone",
  )
  .meta({ id: "Status" });
export type SessionStatus = z.infer<typeof SessionStatus>;
