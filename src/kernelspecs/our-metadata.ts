/** The settings for this server in a kernelspec's metadata. */
import * as z from "zod";
import { SessionPolicy } from "../../contract/index.ts";

/**
 * The kind of sockets that the kernelspec selects: `metadata.kallichore.sockets`.
 * Another value is refused when the kernelspec is looked up.
 */
export function socketsOf(
  metadata: Readonly<Record<string, unknown>>,
): "ipc" | "tcp" | undefined {
  return KallichoreMetadata.safeParse(metadata).data?.kallichore?.sockets;
}

export const KallichoreMetadata = z.object({
  kallichore: z
    .looseObject({ sockets: z.enum(["ipc", "tcp"]).optional() })
    .optional(),
});

/**
 * Seconds without use after which the kernelspec's kernels are shut down:
 * `metadata.cull_idle_timeout`, as Jupyter Server has it; 0: never. Anything but
 * a number of seconds is ignored, because other servers read this member too.
 */
export function cullIdleTimeoutOf({
  cull_idle_timeout: seconds,
}: Readonly<Record<string, unknown>>): number | undefined {
  const parsed = SessionPolicy.shape.cull_idle_timeout.safeParse(seconds);
  return parsed.data;
}
