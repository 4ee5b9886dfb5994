/** What a kernelspec's author may say to us: `metadata.kallichore`. */
import * as z from "zod";

/**
 * Which sockets the kernelspec's author wants: `metadata.kallichore.sockets`.
 * What else stands there is refused where the kernelspec is found.
 */
export function socketsOf(
  metadata: Readonly<Record<string, unknown>>,
): "ipc" | "tcp" | undefined {
  return Ours.safeParse(metadata).data?.kallichore?.sockets;
}

export const Ours = z.object({
  kallichore: z
    .looseObject({ sockets: z.enum(["ipc", "tcp"]).optional() })
    .optional(),
});
