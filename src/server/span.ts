/** The span of a request: by it a log line and an answer find each other. */
import { randomUUID } from "node:crypto";
import type { IncomingMessage } from "node:http";

export const SPAN = "x-span-id";

const made = new WeakMap<IncomingMessage, string>();

/** The request's own, echoed, or a new one; the same at each call. */
export function spanOf(req: IncomingMessage): string {
  const given = req.headers[SPAN];
  if (typeof given === "string" && /^[\x21-\x7e]{1,200}$/.test(given)) {
    return given;
  }
  const span = made.get(req) ?? randomUUID();
  made.set(req, span);
  return span;
}
