/**
 * What only Node has (and Deno and Bun imitate): sockets, files, and errors
 * that say why a line does not open. Bundles for browsers have `page.ts` in the
 * place of this file.
 */
import { ConnectionError } from "./failure.ts";
import { isNode, nodeModule } from "./node.ts";
import type { RawSocket, Where } from "./where.ts";

export { socketFetch } from "./socket-fetch.ts";

/** Whether the runtime's own WebSocket will not do: it opens no Unix socket, and says no token in a header. */
export function needsOurSocket(
  socketPath: string | undefined,
  token: string | undefined,
): boolean {
  const given = builtin();
  if (given === undefined) return true;
  if (!isNode) return false;
  return (
    socketPath !== undefined || (token !== undefined && !isReplaced(given))
  );
}

function builtin(): object | undefined {
  return (globalThis as { WebSocket?: object }).WebSocket;
}

const seenFirst = builtin();

/** Whoever took the place of the runtime's own, as MSW does with a proxy of it, wants to see what is sent: nothing goes past them. */
function isReplaced(given: object): boolean {
  return given !== seenFirst || nodeModule("node:util").types.isProxy(given);
}

/** Characters, and so bytes at least: no text is longer in V8, and `ws` would throw over one. */
const LONGEST_TEXT = 0x1fff_ffe8;

export async function openWebSocket(
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<RawSocket> {
  const { WebSocket } = await import("ws");
  return new WebSocket(url, [], {
    headers,
    perMessageDeflate: false,
    maxPayload: LONGEST_TEXT,
  });
}

/** What is wrong with the line or with what is at its end, where the error tells. */
export async function connectionFault(
  origin: string | undefined,
  failed: Error,
): Promise<string | undefined> {
  const code = codeOf(failed);
  if (NO_TLS.test(code)) return "does not speak TLS: use http://";
  if (BAD_CERTIFICATE.test(code)) {
    return `has a certificate that is not trusted here (${code})`;
  }
  if (code.startsWith("HPE_")) return "does not speak HTTP";
  if (await speaksTls(origin, code)) return "speaks TLS: use https://";
  return undefined;
}

/** How long the question may take. */
const TIMEOUT_MS = 5_000;

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
async function speaksTls(
  origin: string | undefined,
  code: string,
): Promise<boolean> {
  if (origin?.startsWith("http:") !== true) return false;
  if (code !== "ECONNRESET" && code !== "UND_ERR_SOCKET") return false;
  try {
    const signal = AbortSignal.timeout(TIMEOUT_MS);
    await globalThis.fetch(origin.replace("http:", "https:"), { signal });
    return true;
  } catch (error) {
    return error instanceof Error && BAD_CERTIFICATE.test(codeOf(error));
  }
}

/** Reads the file that the server wrote about itself (`--connection-file`), or what `kallichore serve --json` printed. */
export async function readConnectionFile(
  path: string,
): Promise<{ where: Where; token: string | undefined }> {
  const file = await readJson(path);
  const token = file.bearer_token ?? file.token ?? undefined;
  const socketPath = file.socket_path ?? file.named_pipe ?? file.socket;
  if (socketPath !== undefined) {
    return { where: { socketPath, basePath: file.base_url }, token };
  }
  const url = file.base_path ?? file.url;
  if (url !== undefined) return { where: { url }, token };
  throw new ConnectionError(`${path} does not say where the server is`);
}

interface ConnectionFile {
  readonly base_path?: string;
  readonly socket_path?: string;
  readonly named_pipe?: string;
  readonly bearer_token?: string | null;
  readonly url?: string;
  readonly socket?: string;
  readonly token?: string | null;
  /** The path under which a server on a socket answers. */
  readonly base_url?: string;
}

async function readJson(path: string): Promise<ConnectionFile> {
  const { readFile } = nodeModule("node:fs/promises");
  try {
    return JSON.parse(await readFile(path, "utf8")) as ConnectionFile;
  } catch (error) {
    throw new ConnectionError(
      `There is no server to be found by ${path}: a running server that was started with \`--connection-file\` has written one`,
      { cause: error },
    );
  }
}
