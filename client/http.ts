/** Calls of operations by HTTP. Each call has its own request: in a batch, a fast call would wait for a slow one. */
import type { Address } from "./address.ts";
import { type Call, CallError } from "./call.ts";
import { isRecord } from "./frames.ts";

type Endpoint = Pick<Address, "trpc" | "headers" | "fetch">;

/** Rejects with a `CallError`. */
export async function callByHttp(
  { trpc, headers, fetch }: Endpoint,
  { type, path, input, signal }: Call,
): Promise<unknown> {
  try {
    const text = JSON.stringify(input) as string | undefined;
    const isQuery = type === "query";
    const query =
      isQuery && text !== undefined ? `?input=${encodeURIComponent(text)}` : "";
    const response = await fetch(`${trpc}/${path}${query}`, {
      method: isQuery ? "GET" : "POST",
      headers: isQuery
        ? headers
        : { "content-type": "application/json", ...headers },
      ...(!isQuery && text !== undefined && { body: text }),
      ...(signal && { signal }),
    });
    const responseJSON: unknown = await response.json();
    const { error, result } = isRecord(responseJSON) ? responseJSON : {};
    if (error === undefined && isRecord(result)) return result["data"];
    const meta = { response, responseJSON };
    throw isRecord(error) && typeof error["message"] === "string"
      ? new CallError(error["message"], { shape: error, meta })
      : new CallError("The answer of the server cannot be read", { meta });
  } catch (error) {
    throw CallError.from(error);
  }
}
