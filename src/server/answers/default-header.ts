/** The header fields of a client's message that the client leaves out. */
import { randomUUID } from "node:crypto";
import type { Session } from "../../session/session.ts";

export function defaultHeaderOf({ spec }: Session) {
  return {
    /** Computed only when needed: most clients send their own. */
    get session() {
      return `${spec.session_id}-${randomUUID().slice(0, 8)}`;
    },
    username: spec.username,
    version: "5.3",
  };
}
