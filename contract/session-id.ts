/** The id of a session. */
import * as z from "zod";

export const SessionId = z
  .string()
  .describe("Chosen by the client, unique among the server's sessions");

export const InSession = z.object({
  session_id: SessionId.describe(
    "The session's `session_id`; its `kernel_id` does as well",
  ),
});
