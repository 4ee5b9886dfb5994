/** The settings for this server in a kernelspec: `metadata.kallichore`. */
import * as z from "zod";

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
