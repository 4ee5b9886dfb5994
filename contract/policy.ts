/** A session's policy: when its kernel is culled, and whether a kernel that died is started again. It applies to clients of every protocol. */
import * as z from "zod";

export const Autorestart = z
  .object({
    limit: z
      .int()
      .min(1)
      .max(1_000)
      .describe(
        "The most starts within the window; after them the session stays exited",
      ),
    window_s: z
      .int()
      .min(1)
      .max(86_400)
      .describe("The window in seconds: a start counts for this long"),
  })
  .meta({ id: "Autorestart" });
export type Autorestart = z.infer<typeof Autorestart>;

export const SessionPolicy = z
  .object({
    cull_idle_timeout: z
      .int()
      .min(0)
      .max(31_536_000)
      .describe(
        "Seconds without use after which the kernel is shut down; 0: never. The time starts again at each change of the execution state, each message from a client and each client that disconnects",
      ),
    cull_connected: z
      .boolean()
      .describe(
        "Whether to cull also while clients are connected. Default: false",
      ),
    cull_busy: z
      .boolean()
      .describe(
        "Whether to cull also while code runs or waits. Default: false",
      ),
    autorestart: Autorestart.nullable().describe(
      "Whether a kernel that died by itself is started again in the same session. `null`: never. A kernel that was adopted is neither culled nor started again",
    ),
  })
  .meta({ id: "SessionPolicy" });
export type SessionPolicy = z.infer<typeof SessionPolicy>;

/** A field that is not given keeps its value; at the creation it takes the server's default. */
export const PolicyChange = SessionPolicy.partial().meta({
  id: "SessionPolicyChange",
});
export type PolicyChange = z.infer<typeof PolicyChange>;

/** The policy of a session for which neither client nor server set one. */
export const NO_POLICY: SessionPolicy = {
  cull_idle_timeout: 0,
  cull_connected: false,
  cull_busy: false,
  autorestart: null,
};
