/**
 * Features that Node has (and Deno and Bun imitate) and browsers lack: sockets,
 * files, and errors that say why a connection does not open. Bundles for
 * browsers have `page.ts` in the place of this file.
 */
import { ConnectionError } from "./failure.ts";
import { isNode, nodeModule } from "./node.ts";
import type { ServerLocation } from "./server-location.ts";
import type { RawSocket } from "./socket.ts";

export { socketFetch } from "./socket-fetch.ts";

/** Whether the client needs the package `ws`: the runtime's own WebSocket cannot open a Unix socket or send a token in a header. */
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

const originalWebSocket = builtin();

/** Whether another library has replaced the runtime's own WebSocket, as MSW does with a proxy. That library has to see what is sent, so it is used. */
function isReplaced(given: object): boolean {
  return (
    given !== originalWebSocket || nodeModule("node:util").types.isProxy(given)
  );
}

/** The longest string of V8, in characters; a text has at least as many bytes. `ws` would throw on a longer one. */
const MAX_TEXT = 0x1fff_ffe8;

export async function openWebSocket(
  url: string,
  headers: Readonly<Record<string, string>>,
): Promise<RawSocket> {
  const { WebSocket } = await import("ws");
  return new WebSocket(url, [], {
    headers,
    perMessageDeflate: false,
    maxPayload: MAX_TEXT,
  });
}

/** The reason why the server cannot be reached, in words that follow its name, if the error shows it. */
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

/** The timeout of the request that tries TLS. */
const TIMEOUT_MS = 5_000;

const NO_TLS = /^(EPROTO|ERR_SSL_(WRONG_VERSION|PACKET_LENGTH|HTTP_REQUEST))/;
const BAD_CERTIFICATE = /CERT|UNABLE_TO_VERIFY|SELF_SIGNED/;

/** The code of the deepest cause that has one. */
function codeOf(error: Error): string {
  let code = "";
  for (
    let cause: unknown = error;
    cause instanceof Error;
    cause = cause.cause
  ) {
    const own = (cause as { code?: unknown }).code;
    if (typeof own === "string") code = own;
  }
  return code;
}

/** Whether the server speaks TLS. Such a server closes a plain HTTP connection without an answer. */
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

/** Reads the file that the server writes for `--connection-file`, or a file with the output of `kallichore serve --json`. */
export async function readConnectionFile(
  path: string,
): Promise<{ where: ServerLocation; token: string | undefined }> {
  const file = await readJson(path);
  const token = file.bearer_token ?? file.token ?? undefined;
  const socketPath = file.socket_path ?? file.named_pipe ?? file.socket;
  if (socketPath !== undefined) {
    return { where: { socketPath, basePath: file.base_url }, token };
  }
  const url = file.base_path ?? file.url;
  if (url !== undefined) return { where: { url }, token };
  throw new ConnectionError(
    `${path} has no address of a server: it needs a \`base_path\`, \`socket_path\`, \`named_pipe\`, \`url\` or \`socket\``,
  );
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
      `${path} cannot be read as a connection file: start the server with \`--connection-file\`, which writes one`,
      { cause: error },
    );
  }
}
