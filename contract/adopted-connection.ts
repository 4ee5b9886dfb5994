/** How to connect to a kernel that another program started. */
import * as z from "zod";
import { ConnectionInfo } from "./messages.ts";
import { SystemText } from "./text.ts";

/** The connection of a running kernel that a client wants the server to adopt. */
export const AdoptedConnection = ConnectionInfo.extend({
  signature_scheme: z
    .string()
    .regex(
      /^hmac-(md5|sha1|sha224|sha256|sha384|sha512|sha3_(224|256|384|512)|blake2[bs])$/,
      "is not `hmac-` and a digest",
    )
    .default("hmac-sha256"),
  transport: z.enum(["tcp", "ipc"]).default("tcp"),
  ip: SystemText.min(1),
});
export type AdoptedConnection = z.infer<typeof AdoptedConnection>;
