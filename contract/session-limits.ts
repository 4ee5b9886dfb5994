/** What a session's kernel may use at most. */
import * as z from "zod";

const YEAR_S = 31_536_000;

export const SessionLimits = z
  .object({
    memory_bytes: z
      .int()
      .min(1024 * 1024)
      .nullable()
      .describe(
        "Bytes of memory of the kernel and all processes that it starts. A kernel that uses more is killed. `null`: no limit",
      ),
    cpus: z
      .number()
      .min(0.01)
      .max(4096)
      .nullable()
      .describe(
        "Cores that the kernel and all processes that it starts may use together, such as 1.5. Refused (`bad_configuration`) where the server cannot limit them. `null`: no limit",
      ),
    run_time_s: z
      .int()
      .min(1)
      .max(YEAR_S)
      .nullable()
      .describe(
        "Seconds from the start of the kernel after which it is shut down, also while it runs code. Each start begins anew. `null`: no limit",
      ),
  })
  .meta({ id: "SessionLimits" });
export type SessionLimits = z.infer<typeof SessionLimits>;

/** A field that is not given, or is `null`, has the server's limit. */
export const LimitsRequest = SessionLimits.partial().meta({
  id: "SessionLimitsRequest",
});
export type LimitsRequest = z.infer<typeof LimitsRequest>;

export const NO_LIMITS: SessionLimits = {
  memory_bytes: null,
  cpus: null,
  run_time_s: null,
};
