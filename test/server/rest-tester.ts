/**
 * Sends requests to a live server over plain HTTP and checks each answer
 * against the document: its status is described, its body has the described
 * shape, and it has the `x-span-id` of the log.
 */
import { Agent, request } from "node:http";
import { buffer } from "node:stream/consumers";
import { once } from "node:events";
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { expect } from "vitest";
import {
  type Described,
  escaped,
  resolved,
  responsesOf,
  validator,
} from "../contract/document.ts";

export interface Request {
  readonly method: string;
  /** The path as in the request line: it is not normalized or encoded. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** Empty for a stream, which is closed as soon as it begins. */
  readonly text: string;
}

export interface Failed {
  readonly code: string;
  readonly message: string;
  readonly reason?: string;
}

export class RestTester implements Disposable {
  readonly #url: URL;
  readonly #token: string | undefined;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 4 });

  constructor(url: string, token: string | undefined) {
    this.#url = new URL(url);
    this.#token = token;
  }

  /** Rejects if no answer arrives, for example from a server that has died. */
  async ask(
    { method, path, headers = {}, body }: Request,
    timeout_ms = 20_000,
  ): Promise<Answer> {
    const sent = request({
      agent: this.#agent,
      host: this.#url.hostname,
      port: this.#url.port,
      method,
      path,
      signal: AbortSignal.timeout(timeout_ms),
      headers: {
        ...(this.#token !== undefined && {
          authorization: `Bearer ${this.#token}`,
        }),
        ...(body !== undefined && {
          "content-length": Buffer.byteLength(body),
        }),
        ...headers,
      },
    });
    const answered = once(sent, "response") as Promise<[IncomingMessage]>;
    sent.end(body);
    const [response] = await answered;
    const { statusCode: status = 0, headers: received } = response;
    if (received["content-type"] === "text/event-stream") {
      response.destroy();
      return { status, headers: received, text: "" };
    }
    const text = (await buffer(response)).toString();
    return { status, headers: received, text };
  }

  [Symbol.dispose](): void {
    this.#agent.destroy();
  }
}

/** Fails unless the document describes this answer of this operation. */
export function expectPromised(
  { operation, pointer, method, path }: Described,
  answer: Answer,
): void {
  const { status, headers, text } = answer;
  const what = `${method} ${path} answered ${status} ${text.slice(0, 500)}`;
  expect(headers["x-span-id"], what).toBeTruthy();
  const response = responsesOf(operation)[String(status)];
  expect(response, `${what}, which is not in the document`).toBeDefined();
  if (response === undefined) return;
  const here =
    "$ref" in response
      ? response.$ref.slice(1)
      : `${pointer}/responses/${status}`;
  const { content } = resolved(response);
  const type = (headers["content-type"] ?? "").replace(/;.*/, "");
  if (content === undefined) {
    const nothing = status === 204 ? ["", ""] : ["application/json", "null"];
    expect([type, text], what).toEqual(nothing);
    return;
  }
  expect(Object.keys(content), what).toContain(type);
  if (type !== "application/json") return;
  const body: unknown = JSON.parse(text);
  const validate = validator(`${here}/content/${escaped(type)}/schema`);
  validate(body);
  expect(validate.errors ?? [], what).toEqual([]);
}

/** Fails unless it is a refusal with a reason. */
export function expectRefused(answer: Answer): Failed {
  const { status, headers, text } = answer;
  expect(status, text).toBeGreaterThanOrEqual(400);
  expect(status, text).toBeLessThan(500);
  expect(headers["x-span-id"], `${status} ${text}`).toBeTruthy();
  const body = JSON.parse(text) as Failed | { readonly error: Failed };
  const failed = "error" in body ? body.error : body;
  const schema = "code" in failed ? "Error" : "JupyterError";
  expect(validator(`/components/schemas/${schema}`)(failed), text).toBe(true);
  return failed;
}
