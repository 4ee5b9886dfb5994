/**
 * Why a WebSocket does not open: it hardly says so itself, plain HTTP does.
 */
import { SupervisorError } from "../contract/reasons.ts";
import type { Address } from "./address.ts";
import { ConnectionError, toFailure } from "./failure.ts";
import { connectionFault } from "./host.ts";
import { askByHttp } from "./http.ts";
import type { Fetch } from "./socket-fetch.ts";

/** How long the question may take. */
const TIMEOUT_MS = 5_000;

export interface Finding {
  readonly error: Error;
  /**
   * `refused`: we may not come in. `wrong`: something is there, and it is no
   * server of ours. `absent`: nobody answers, or not now.
   */
  readonly what: "refused" | "wrong" | "absent";
}

/** `undefined` where HTTP finds nothing amiss. Never rejects. */
export async function probe(address: Address): Promise<Finding | undefined> {
  const { trpc, headers, fetch } = address;
  let status: number | undefined;
  const watched: Fetch = async (...asked) => {
    const response = await fetch(...asked);
    ({ status } = response);
    return response;
  };
  try {
    await askByHttp(
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

/** `status`: of the answer, where there was one. */
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
          `is no kallichore server: it answers with HTTP ${status}. Is the address right, and its path?`,
        );
  }
  const why = await connectionFault(address.origin, failed);
  if (why !== undefined) return wrong(why);
  const page = await refusedOrigin(address);
  if (page !== undefined) {
    const closed = `${name} does not let pages of ${page} in: start the server with --allow-origin ${page}`;
    return { error: new SupervisorError("forbidden", closed), what: "refused" };
  }
  return { error: failed, what: "absent" };
}

/** A browser does not tell a page why it may not read an answer; that there is one, it does. Returns the page's origin. */
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
    return undefined; // nobody is there
  }
}
