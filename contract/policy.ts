/** What becomes of a session's kernel when nobody uses it, and when it dies: the session's own rules, whatever door it is used by. */
import * as z from "zod";

export const Autorestart = z
  .object({
    limit: z
      .int()
      .min(1)
      .max(1_000)
      .describe("Most starts within the window; then the session stays exited"),
    window_s: z
      .int()
      .min(1)
      .max(86_400)
      .describe("Seconds that a start counts for"),
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
        "Seconds without use after which the kernel is shut down; 0: never. Each change of what the kernel does, each message that a client sends and each client that leaves begins them anew",
      ),
    cull_connected: z
      .boolean()
      .describe("Also while clients are connected. Default: false"),
    cull_busy: z
      .boolean()
      .describe("Also while code runs or waits. Default: false"),
    autorestart: Autorestart.nullable().describe(
      "Start a kernel that died by itself again, in the same session. `null`: never. A kernel that was adopted is neither culled nor started again",
    ),
  })
  .meta({ id: "SessionPolicy" });
export type SessionPolicy = z.infer<typeof SessionPolicy>;

/** What is not given stays as it is; at the creation, as the server says by default. */
export const PolicyChange = SessionPolicy.partial().meta({
  id: "SessionPolicyChange",
});
export type PolicyChange = z.infer<typeof PolicyChange>;

/** A session that nobody said anything about. */
export const NO_POLICY: SessionPolicy = {
  cull_idle_timeout: 0,
  cull_connected: false,
  cull_busy: false,
  autorestart: null,
};
