/**
 * Why a WebSocket does not open: it hardly says so itself, plain HTTP does.
 */
import { createTRPCClient, httpLink } from "@trpc/client";
import { failure, SupervisorError } from "../contract/errors.ts";
import type { AppRouter } from "../contract/index.ts";
import type { Address } from "./address.ts";
import { ConnectionError, toFailure } from "./failure.ts";
import type { Fetch } from "./socket-fetch.ts";

/** How long the question may take. */
const PATIENCE_MS = 5_000;

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
    const http = createTRPCClient<AppRouter>({
      links: [httpLink({ url: trpc, headers, fetch: watched as never })],
    });
    const signal = AbortSignal.timeout(PATIENCE_MS);
    await http.server.configuration.query(undefined, { signal });
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
      ? wrong("has a kallichore server, but not at this path: leave it out")
      : { error: failed, what: "absent" };
  }
  if (status !== undefined) {
    return status >= 500
      ? { error: failed, what: "absent" } // a proxy whose server is not up yet
      : wrong(
          `is no kallichore server: it answers with HTTP ${status}. Is the address right, and its path?`,
        );
  }
  const code = codeOf(failed);
  if (NO_TLS.test(code)) return wrong("does not speak TLS: use http://");
  if (BAD_CERTIFICATE.test(code)) {
    return wrong(`has a certificate that is not trusted here (${code})`);
  }
  if (code.startsWith("HPE_")) return wrong("does not speak HTTP");
  if (await speaksTls(address, code)) return wrong("speaks TLS: use https://");
  const page = await pageKeptOut(address);
  if (page !== undefined) {
    const why = `${name} does not let pages of ${page} in: start the server with --allow-origin ${page}`;
    return { error: failure("forbidden", { why }), what: "refused" };
  }
  return { error: failed, what: "absent" };
}

const NO_TLS = /^(EPROTO|ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|HTTP_REQUEST))/;
const BAD_CERTIFICATE = /CERT|UNABLE_TO_VERIFY|SELF_SIGNED/;

/** Of the deepest cause that has one. */
function codeOf(error: Error): string {
  let code = "";
  for (
    let cause: unknown = error;
    cause instanceof Error;
    cause = cause.cause
  ) {
    const said = (cause as { code?: unknown }).code;
    if (typeof said === "string") code = said;
  }
  return code;
}

/** A server for TLS hangs up on plain HTTP without a word. */
async function speaksTls({ origin }: Address, code: string): Promise<boolean> {
  if (origin?.startsWith("http:") !== true) return false;
  if (code !== "ECONNRESET" && code !== "UND_ERR_SOCKET") return false;
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    await globalThis.fetch(origin.replace("http:", "https:"), { signal });
    return true;
  } catch (error) {
    return error instanceof Error && BAD_CERTIFICATE.test(codeOf(error));
  }
}

/** A browser does not tell a page why it may not read an answer; that there is one, it does. Returns the page's origin. */
async function pageKeptOut({ origin }: Address): Promise<string | undefined> {
  const { location } = globalThis as { location?: { origin?: string } };
  const page = location?.origin;
  if (origin === undefined || page === undefined || page === origin) {
    return undefined;
  }
  try {
    const signal = AbortSignal.timeout(PATIENCE_MS);
    await globalThis.fetch(`${origin}/status`, { mode: "no-cors", signal });
    return page;
  } catch {
    return undefined; // nobody is there
  }
}
