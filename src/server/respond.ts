/** What every door answers alike: JSON and failures. */
import type { ServerResponse } from "node:http";
import type { SupervisorError } from "../../contract/index.ts";
import { stringify } from "../jupyter/raw-json.ts";
import type { Spelled } from "./door.ts";
import { endAfterBody, isExpectant } from "./request-body.ts";
import { SPAN, spanOf } from "./span.ts";

export function sendJson(
  res: ServerResponse,
  status: number,
  data: unknown,
): void {
  send(res, { status, body: data });
}

export function send(
  res: ServerResponse,
  { status, body, headers }: Spelled,
): void {
  const isJson = headers === undefined;
  const bytes = Buffer.from(isJson ? stringify(body ?? null) : String(body));
  res.writeHead(status, {
    ...(headers ?? {
      "content-type": "application/json",
      "cache-control": "no-store",
    }),
    "content-length": bytes.length,
  });
  endAfterBody(res, bytes);
}

export function sendFailure(
  res: ServerResponse,
  failed: SupervisorError,
  spelled: Spelled = failed,
): void {
  if (!res.hasHeader(SPAN)) res.setHeader(SPAN, spanOf(res.req)); // it never came to a door
  if (failed.reason === "unauthorized") {
    res.setHeader("www-authenticate", "Bearer");
  }
  if (isExpectant(res.req)) res.setHeader("connection", "close"); // its body will not come
  const { status, body, headers } = spelled;
  send(res, { status, body, headers });
}
