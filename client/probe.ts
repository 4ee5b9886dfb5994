/** Finds out by plain HTTP why a WebSocket does not open: the WebSocket itself gives almost no reason. */
import { SupervisorError } from "../contract/reasons.ts";
import type { Address } from "./address.ts";
import { ConnectionError, toFailure } from "./failure.ts";
import { connectionFault } from "./host.ts";
import { callByHttp } from "./http.ts";
import type { Fetch } from "./socket-fetch.ts";

/** The timeout of each request. */
const TIMEOUT_MS = 5_000;

export interface Finding {
  readonly error: Error;
  /**
   * `refused`: the server does not admit this client. `wrong`: something else
   * than a kallichore server answers. `absent`: no server answers, or it
   * cannot answer now.
   */
  readonly what: "refused" | "wrong" | "absent";
}

/** Resolves with `undefined` if a request by HTTP succeeds. Never rejects. */
export async function probe(address: Address): Promise<Finding | undefined> {
  const { trpc, headers, fetch } = address;
  let status: number | undefined;
  const watched: Fetch = async (...args) => {
    const response = await fetch(...args);
    ({ status } = response);
    return response;
  };
  try {
    await callByHttp(
      { trpc, headers, fetch: watched },
      {
        type: "query",
        path: "server.configuration",
        input: undefined,
        signal: AbortSignal.timeout(TIMEOUT_MS),
      },
    );
    return undefined;
  } catch (error) {
    return await findingOf(address, toFailure(error), status);
  }
}

/** `status`: the HTTP status of the answer, if there was one. */
async function findingOf(
  address: Address,
  failed: Error,
  status: number | undefined,
): Promise<Finding> {
  const { name } = address;
  const wrong = (why: string): Finding => ({
    error: new ConnectionError(`${name} ${why}`, { cause: failed }),
    what: "wrong",
  });
  if (failed instanceof SupervisorError) {
    const { reason } = failed;
    if (reason === "unauthorized" || reason === "forbidden") {
      return { error: failed, what: "refused" };
    }
    return reason === "not_found"
      ? wrong(
          `has a kallichore server, but not at this path: ${failed.message}`,
        )
      : { error: failed, what: "absent" };
  }
  if (status !== undefined) {
    return status >= 500
      ? { error: failed, what: "absent" } // a proxy whose server is not up yet
      : wrong(
          `is not a kallichore server: it answers with HTTP ${status}. Check the address and its path`,
        );
  }
  const why = await connectionFault(address.origin, failed);
  if (why !== undefined) return wrong(why);
  const page = await refusedOrigin(address);
  if (page !== undefined) {
    const closed = `${name} does not admit pages of ${page}: start the server with --allow-origin ${page}`;
    return { error: new SupervisorError("forbidden", closed), what: "refused" };
  }
  return { error: failed, what: "absent" };
}

/** Returns the page's origin if the server answers but the browser hides the answer from the page. A browser does not tell a page why it may not read an answer. */
async function refusedOrigin({
  origin,
  trpc,
}: Address): Promise<string | undefined> {
  const { location } = globalThis as { location?: { origin?: string } };
  const page = location?.origin;
  if (origin === undefined || page === undefined || page === origin) {
    return undefined;
  }
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await globalThis.fetch(trpc, { mode: "no-cors", signal });
    return page;
  } catch {
    return undefined; // no server answers
  }
}
