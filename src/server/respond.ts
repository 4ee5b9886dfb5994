/** What every door answers alike: JSON and failures. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { SupervisorError } from "../../contract/index.ts";
import { stringify } from "../jupyter/raw-json.ts";
import { share } from "../time/share.ts";
import { inPieces, isLarge } from "./answers/large-answer.ts";
import type { Spelled } from "./door.ts";
import { endAfterBody, isExpectant } from "./request-body.ts";
import { SPAN, spanOf } from "./span.ts";

/** Resolves when the client has taken all but the end of it, or is gone. */
export async function sendJson(
  res: ServerResponse,
  status: number,
  data: unknown,
): Promise<void> {
  if (!isLarge(data)) {
    send(res, { status, body: data });
    return;
  }
  const pieces = [...(await share.all(inPieces(data)))];
  const last = pieces.pop() ?? NOTHING;
  let length = last.length;
  for (const piece of pieces) length += piece.length;
  res.writeHead(status, { ...AS_JSON, "content-length": length });
  for (const piece of pieces) {
    if (res.destroyed) return;
    if (!res.write(piece)) await drained(res);
  }
  endAfterBody(res, last);
}

/** Resolves when the client takes more, or is gone. */
async function drained(res: ServerResponse): Promise<void> {
  if (res.destroyed) return;
  const end = new AbortController();
  const gone = () => end.abort();
  res.once("close", gone);
  await once(res, "drain", { signal: end.signal }).catch(() => {}); // gone, then
  res.off("close", gone);
}

const NOTHING = Buffer.alloc(0);
const AS_JSON = {
  "content-type": "application/json",
  "cache-control": "no-store",
};

export function send(
  res: ServerResponse,
  { status, body, headers }: Spelled,
): void {
  const isJson = headers === undefined;
  const bytes = Buffer.from(isJson ? stringify(body ?? null) : String(body));
  res.writeHead(status, {
    ...(headers ?? AS_JSON),
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
