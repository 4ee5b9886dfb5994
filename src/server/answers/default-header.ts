/** Who speaks when a client does not say. */
import { randomUUID } from "node:crypto";
import type { Session } from "../../session/session.ts";

export function defaultHeaderOf({ spec }: Session) {
  return {
    /** Made for who needs it: most clients say who they are. */
    get session() {
      return `${spec.session_id}-${randomUUID().slice(0, 8)}`;
    },
    username: spec.username,
    version: "5.3",
  };
}
