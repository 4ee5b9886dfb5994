/** The span id of a request: it connects a log line with a response. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";

export const SPAN = "x-span-id";

const made = new WeakMap<IncomingMessage, string>();

/** The request's own id, or a new one. Returns the same id at each call. */
export function spanOf(req: IncomingMessage): string {
  const given = req.headers[SPAN];
  if (typeof given === "string" && /^[\x21-\x7e]{1,200}$/.test(given)) {
    return given;
  }
  const span = made.get(req) ?? randomUUID();
  made.set(req, span);
  return span;
}
