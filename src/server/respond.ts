/** Responses that are the same at every door: JSON and failures. */
import type { ServerResponse } from "node:http";
import {
  failure,
  type JupyterErrorBody,
  type SupervisorError,
} from "../../contract/index.ts";
import { lengthOf } from "../jupyter/pieces.ts";
import { stringify } from "../jupyter/raw-json.ts";
import { requestScheduler } from "../time/request-scheduler.ts";
import { encodeInPieces, isLarge } from "./answers/large-answer.ts";
import type { HttpResponse } from "./door.ts";
import { drained } from "./drained.ts";
import { endAfterBody, awaitsContinue } from "./request-body.ts";
import { SPAN, spanOf } from "./span.ts";

/** Resolves when the client has read everything except the end, or has left. A client that reads nothing for `timeout_ms` is disconnected. */
export async function sendJson(
  res: ServerResponse,
  status: number,
  data: unknown,
  timeout_ms: number,
): Promise<void> {
  if (!isLarge(data)) {
    send(res, { status, body: data });
    return;
  }
  const pieces = [...(await requestScheduler.run(encodeInPieces(data)))];
  const last = pieces.pop() ?? NOTHING;
  const length = lengthOf(pieces) + last.length;
  res.writeHead(status, { ...AS_JSON, "content-length": length });
  for (const piece of pieces) {
    res.write(piece);
    if (!(await drained(res, timeout_ms))) return;
  }
  endAfterBody(res, last);
}

const NOTHING = Buffer.alloc(0);
const AS_JSON = {
  "content-type": "application/json",
  "cache-control": "no-store",
};

/** Aborted when the client leaves. It may have left while the request was admitted or its body was read. */
export function abortedByClose(res: ServerResponse): AbortController {
  const gone = new AbortController();
  res.once("close", () => gone.abort());
  if (res.destroyed) gone.abort();
  return gone;
}

export function send(
  res: ServerResponse,
  { status, body, headers }: HttpResponse,
): void {
  const isJson = headers === undefined;
  const bytes = Buffer.from(isJson ? stringify(body ?? null) : String(body));
  res.writeHead(status, {
    ...(headers ?? AS_JSON),
    "content-length": bytes.length,
  });
  endAfterBody(res, bytes);
}

/** Throws `upgrade_required`, with the headers that belong to it. */
export function refuseWithoutUpgrade(res: ServerResponse): never {
  res.setHeader("upgrade", "websocket");
  res.setHeader("connection", "upgrade");
  throw failure("upgrade_required", {});
}

/** A failure as Jupyter's clients read it: `message` includes the kernel's output. */
export function jupyterBodyOf(failed: SupervisorError): JupyterErrorBody {
  const { message, reason, startup, status } = failed;
  const output = startup?.output?.trim().slice(-OUTPUT_SHOWN) ?? "";
  return {
    message: output === "" ? message : `${message}\n${output}`,
    reason: reason === "resource_limit" ? "Resource Limit" : reason, // as Kernel Gateway has it
    ...(status === 500 && { traceback: "" }),
  };
}

/** Characters of a kernel's output that an error message shows. */
const OUTPUT_SHOWN = 4_000;

/** The headers of each answer of Jupyter's API: a browser neither guesses its type nor shows it in a page of another origin. */
export function guardJupyterAnswer(
  res: ServerResponse,
  basePath: string,
): void {
  res.setHeader("x-content-type-options", "nosniff");
  res.setHeader(
    "content-security-policy",
    `frame-ancestors 'self'; report-uri ${basePath}${CSP_REPORT}; default-src 'none'`,
  );
}

/** Where browsers report what the policy refused. */
export const CSP_REPORT = "/api/security/csp-report";

export function sendFailure(
  res: ServerResponse,
  failed: SupervisorError,
  response: HttpResponse = failed,
): void {
  if (!res.hasHeader(SPAN)) res.setHeader(SPAN, spanOf(res.req)); // the request did not reach a door
  if (failed.reason === "unauthorized") {
    res.setHeader("www-authenticate", "Bearer");
  }
  if (awaitsContinue(res.req)) res.setHeader("connection", "close"); // the client will not send its body
  const { status, body, headers } = response;
  send(res, { status, body, headers });
}
